"""What is recorded of payloads, where that is switched on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

from eventmesh.engine.spec import FunctionSpec
from eventmesh.middleware.runs import ReadPayload
from eventmesh.model.errors import InvocationError
from eventmesh.model.invocation import Invocation
from eventmesh.model.runs import Payload

MAX_RECORDED: Final = 16 * 1024
"""Bytes of the largest payload that is recorded; of a larger one nothing is."""

Redact: TypeAlias = Callable[[str, Any], Any]
"""Takes the name of a function and a payload as plain values, and returns what may be recorded."""

_NOTHING: Final = Payload("")
_log: Final = logging.getLogger(__name__)


def build_payload_reader(function: FunctionSpec, redact: Redact | None) -> ReadPayload:
    """Build what reads the payload of an invocation as one by name has it, for records.

    It never raises: of what is no JSON, is too large or cannot be redacted, nothing is recorded.
    """
    requests: Mapping[str, Callable[[Invocation], bytes]] = {
        route.key: function.schema.build_async_payload(route) for route in function.routes
    }

    def read(invocation: Invocation) -> Payload:
        try:
            body = _read_body(invocation, requests)
            if len(body) > MAX_RECORDED:
                return _NOTHING
            given = orjson.loads(body or b"null")
        except (InvocationError, ValueError):
            return _NOTHING  # A request that does not fit, or what is no JSON.
        return Payload(_dump(given)) if redact is None else _redacted(given, redact, function)

    return read


def _read_body(
    invocation: Invocation, requests: Mapping[str, Callable[[Invocation], bytes]]
) -> bytes:
    if invocation.batch is not None:
        return b"[" + b",".join(invocation.batch.bodies) + b"]"
    if invocation.http is not None:
        return requests[invocation.http.route.key](invocation)
    return invocation.payload


def _redacted(given: Any, redact: Redact, function: FunctionSpec) -> Payload:
    before = _dump(given)
    try:
        text = _dump(redact(function.full_name, given))
    except Exception:  # noqa: BLE001 - it is the user's code, and no record is worth a run
        # Without the traceback: it may show the payload.
        _log.warning(
            "%s: what redacts its payloads raised an error, so this one is not recorded",
            function.full_name,
        )
        return _NOTHING
    return Payload(text, redacted=text != before) if len(text) <= MAX_RECORDED else _NOTHING


def _dump(given: Any) -> str:
    return orjson.dumps(given).decode()
