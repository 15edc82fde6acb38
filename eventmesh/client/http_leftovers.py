"""What is left of functions that no process has, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final, TypeVar
from urllib.parse import quote

import orjson
from pydantic import TypeAdapter, ValidationError

from eventmesh.client.http import WAIT, HttpClient
from eventmesh.engine.upkeep.leftovers import Fate, Remains, Removed
from eventmesh.http.protocol import LEFTOVERS
from eventmesh.model.errors import BrokerUnavailable, DeclarationError
from eventmesh.model.message import JSON

T = TypeVar("T")

_FOUND: Final = TypeAdapter(list[Remains])
_REMOVED: Final = TypeAdapter(Removed)

_UNKNOWN: Final = (
    "what was removed of {name} is not known; nothing is lost: show what is left, and repeat"
)


class HttpLeftovers:
    """What is left, through the control API. See `LeftoverAccess`."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def find(self, name: str = "") -> Sequence[Remains]:
        path = f"{LEFTOVERS}/{quote(name, safe='')}" if name else LEFTOVERS
        return self._read(_FOUND, (await self._ask("GET", path)).get("leftovers"))

    async def remove(self, name: str, fate: Fate) -> Removed:
        path = f"{LEFTOVERS}/{quote(name, safe='')}/remove"
        try:
            answer = await self._ask("POST", path, orjson.dumps(asdict(fate)))
        except BrokerUnavailable as error:
            error.add_note(_UNKNOWN.format(name=name))
            raise
        return self._read(_REMOVED, answer)

    def _read(self, kind: TypeAdapter[T], members: object) -> T:
        try:
            return kind.validate_python(members)
        except ValidationError:
            raise self._client.unreadable() from None

    async def _ask(self, method: str, path: str, body: bytes = b"") -> Mapping[str, Any]:
        try:
            response = await self._client.request(
                method, path, body=body, headers={"Content-Type": JSON}, once=True
            )
        except TimeoutError:
            raise BrokerUnavailable(
                f"{self._client.address} did not answer within {WAIT:g} s"
            ) from None
        if response.status == HTTPStatus.OK:
            return response.members()
        if response.status == HTTPStatus.UNPROCESSABLE_ENTITY and "error" not in response.members():
            raise DeclarationError(response.members().get("detail", ""))
        raise self._client.error_from_response(response)
