"""Events over HTTP, as the HTTP binding of CloudEvents 1.0 says.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import unquote

import orjson

from eventmesh.engine.codecs.json import encode
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.http.server.request import read_content_type
from eventmesh.model.errors import DeclarationError, Problem
from eventmesh.model.event import ATTRIBUTE_PREFIX, SPEC_VERSION, check_type, event_headers
from eventmesh.model.ids import check_id
from eventmesh.model.message import JSON, Message, utf8

STRUCTURED: Final = "application/cloudevents+json"

_BINARY: Final = "ce-"
_OWN: Final = ("data", "data_base64", "datacontenttype", "id", "source", "specversion", "type")
"""Members of a structured event that are not stored as headers of its message."""


def parse_event(headers: Mapping[str, str], body: bytes, now: float) -> Message | None:
    """Parse the event that a request carries, structured or binary; None if it carries none.

    Raises Problem 422 for an event that breaks the rules, and PayloadTooLarge for one with too many
    values.
    """
    if read_content_type(headers).partition(";")[0].strip().lower() == STRUCTURED:
        return _structured(body, now)
    attributes = {
        name.lower().removeprefix(_BINARY): unquote(utf8(text))
        for name, text in headers.items()
        if name.lower().startswith(_BINARY)
    }
    if not attributes:
        return None
    attributes["datacontenttype"] = read_content_type(headers)
    return _event(attributes, body, now)


def _structured(body: bytes, now: float) -> Message:
    try:
        check_nodes(body)
        members = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(422, f"the event is not JSON: {error}") from None
    if not isinstance(members, dict):
        raise Problem(422, "the event is not a JSON object")
    given = cast(Mapping[str, Any], members)
    attributes = {
        name: _text(member)
        for name, member in given.items()
        if name not in ("data", "data_base64") and member is not None
    }
    return _event(attributes, _data(given), now)


def _data(members: Mapping[str, Any]) -> bytes:
    given = members.get("data_base64")
    if given is None:
        return encode(members.get("data"))
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise Problem(422, "data_base64 is not Base64") from None


def _text(member: object) -> str:
    """Write an attribute in its canonical form (CloudEvents 1.0, section 3.1)."""
    return member if isinstance(member, str) else encode(member).decode()


def _event(attributes: Mapping[str, str], data: bytes, now: float) -> Message:
    if attributes.get("specversion") != SPEC_VERSION:
        raise Problem(422, f"an event has the attribute specversion with the text {SPEC_VERSION!r}")
    for name in ("id", "source", "type"):
        if not attributes.get(name):
            raise Problem(422, f"an event has the attribute {name!r}, which is not empty")
    headers = event_headers(attributes["source"], now)
    for name, text in attributes.items():
        if name not in _OWN:
            headers[f"{ATTRIBUTE_PREFIX}{name}"] = text
    _check_time(attributes.get("time"))
    try:
        id, type = check_id(attributes["id"]), check_type(attributes["type"])
    except DeclarationError as error:
        raise Problem(422, str(error)) from None
    return Message(
        data,
        id,
        now,
        attributes.get("datacontenttype", JSON),
        headers,
        trigger="event",
        type=type,
    )


def _check_time(given: str | None) -> None:
    if given is None:
        return
    try:
        zoned = datetime.fromisoformat(given).tzinfo is not None
    except ValueError:
        zoned = False
    if not zoned:
        raise Problem(422, f"the event's time {given!r} is not a timestamp of RFC 3339")
