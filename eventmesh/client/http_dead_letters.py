"""The dead letters of a mesh over HTTP."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final
from urllib.parse import quote, urlencode

from eventmesh.client.http import HttpClient
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.upkeep.dead_letters import LISTED, DeadLetter, DeadLetterSummary
from eventmesh.http.protocol import CONTROL
from eventmesh.model.errors import BrokerUnavailable, Throttled
from eventmesh.model.topology import check_function

PORTION: Final = 100
"""Dead letters that are redriven by one request: that takes far less than `http.WAIT`."""

_NO_QUERY: Final[Mapping[str, Any]] = {}

_SO_FAR: Final = (
    "{done} dead letters of {function} are known to have been delivered again; redrive again for "
    "the rest: at most one of it may be delivered twice"
)
_PERHAPS_PURGED: Final = (
    "whether the dead letters of {function} were dropped is not known: list them to see"
)


class HttpDeadLetters:
    """The dead letters, through the control API."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def summarize(self) -> Sequence[DeadLetterSummary]:
        answer = await self._client.request_now("GET", f"{CONTROL}/dead-letters")
        return [DeadLetterSummary(**members) for members in answer.members()["functions"]]

    async def list(self, function: str, limit: int = LISTED) -> Sequence[DeadLetter]:
        """As in the port. A payload that is JSON equals the one that was sent, as a value."""
        members = await self._request("GET", function, query={"limit": limit})
        return [_dead_letter_from(fields) for fields in members["dead_letters"]]

    async def show(self, function: str, id: str) -> DeadLetter | None:
        members = await self._request("GET", function, "", {"id": id})
        return next((_dead_letter_from(fields) for fields in members["dead_letters"]), None)

    async def redrive(
        self, function: str, *, id: str | None = None, limit: int | None = None
    ) -> int:
        """As in the port, in portions. A note on an error says how many were redriven."""
        if id is not None:
            return int((await self._redrive(function, {"id": id}, 0))["redriven"])
        wanted = math.inf if limit is None else limit
        done = 0
        while done < wanted:
            members = await self._redrive(function, {"limit": min(PORTION, wanted - done)}, done)
            done += int(members["redriven"])
            # Those that fail again meanwhile are left: they might come back for ever.
            wanted = min(wanted, done + int(members["remaining"]))
        return done

    async def purge(self, function: str) -> int:
        """As in the port. A note on an error says what is not known."""
        try:
            return int((await self._request("POST", function, "/purge", once=True))["purged"])
        except BrokerUnavailable as error:
            error.add_note(_PERHAPS_PURGED.format(function=function))
            raise

    async def _redrive(
        self, function: str, which: Mapping[str, Any], done: int
    ) -> Mapping[str, Any]:
        try:
            return await self._request("POST", function, "/redrive", which, once=True)
        except (BrokerUnavailable, Throttled) as error:
            error.add_note(_SO_FAR.format(done=done, function=function))
            raise

    async def _request(
        self,
        method: str,
        function: str,
        rest: str = "",
        query: Mapping[str, Any] = _NO_QUERY,
        *,
        once: bool = False,
    ) -> Mapping[str, Any]:
        path = f"{CONTROL}/dead-letters/{quote(check_function(function), safe='')}{rest}"
        response = await self._client.request_now(method, f"{path}?{urlencode(query)}", once=once)
        return response.members()


def _dead_letter_from(members: Mapping[str, Any]) -> DeadLetter:
    others = dict(members)
    written = others.pop("payload_base64", None)
    payload = encode(others.pop("payload")) if written is None else base64.b64decode(written)
    # A newer mesh may tell more.
    known = {field.name for field in fields(DeadLetter)} & others.keys()
    return DeadLetter(payload=payload, **{name: others[name] for name in known})
