"""The dead letters of a mesh over HTTP."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from eventmesh.client.http import Connection
from eventmesh.codecs.json import encode
from eventmesh.dead_letters import LISTED, DeadLetter
from eventmesh.topology import check_function
from eventmesh.triggers.http.names import CONTROL


class HttpDeadLetters:
    """The dead letters, as the control API has them."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(self, function: str, limit: int = LISTED) -> Sequence[DeadLetter]:
        """As the contract says. A payload that is JSON is equal to the one sent as a value."""
        members = await self._ask("GET", function, query={"limit": limit})
        return [_letter(one) for one in members["dead_letters"]]

    async def show(self, function: str, id: str) -> DeadLetter | None:
        members = await self._ask("GET", function, "", {"id": id})
        return next((_letter(one) for one in members["dead_letters"]), None)

    async def redrive(
        self, function: str, *, id: str | None = None, limit: int | None = None
    ) -> int:
        query = {"id": id, "limit": limit}
        members = await self._ask("POST", function, "/redrive", query)
        return int(members["redriven"])

    async def purge(self, function: str) -> int:
        return int((await self._ask("DELETE", function))["purged"])

    async def _ask(
        self, method: str, function: str, rest: str = "", query: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        given = {name: text for name, text in (query or {}).items() if text is not None}
        path = f"{CONTROL}/dead-letters/{quote(check_function(function), safe='')}{rest}"
        answer = await self._connection.ask_now(method, f"{path}?{urlencode(given)}")
        return answer.members()


def _letter(members: Mapping[str, Any]) -> DeadLetter:
    others = dict(members)
    written = others.pop("payload_base64", None)
    payload = encode(others.pop("payload")) if written is None else base64.b64decode(written)
    return DeadLetter(payload=payload, **others)
