"""The dead letters of a mesh over HTTP."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from eventmesh.client.http import HttpClient
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.dead_letters import LISTED, DeadLetter, DeadLetterSummary
from eventmesh.http.protocol import CONTROL
from eventmesh.model.errors import BrokerUnavailable, Throttled
from eventmesh.model.topology import check_function

PORTION: Final = 100
"""Dead letters that are redriven by one request: that takes far less than `http.WAIT`."""

_NO_QUERY: Final[Mapping[str, Any]] = {}

_SO_FAR: Final = (
    "{done} dead letters of {function} are known to have been delivered again; redrive again for "
    "the rest: what was delivered is not among it, but for one at most"
)
_PERHAPS_PURGED: Final = (
    "whether the dead letters of {function} were dropped is not known: list them to see"
)


class HttpDeadLetters:
    """The dead letters, as the control API has them."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HttpClient) -> None:
        self._connection = connection

    async def summarize(self) -> Sequence[DeadLetterSummary]:
        answer = await self._connection.request_now("GET", f"{CONTROL}/dead-letters")
        return [DeadLetterSummary(**members) for members in answer.members()["functions"]]

    async def list(self, function: str, limit: int = LISTED) -> Sequence[DeadLetter]:
        """As the contract says. A payload that is JSON is equal to the one sent as a value."""
        members = await self._ask("GET", function, query={"limit": limit})
        return [_dead_letter_from(one) for one in members["dead_letters"]]

    async def show(self, function: str, id: str) -> DeadLetter | None:
        members = await self._ask("GET", function, "", {"id": id})
        return next((_dead_letter_from(one) for one in members["dead_letters"]), None)

    async def redrive(
        self, function: str, *, id: str | None = None, limit: int | None = None
    ) -> int:
        """As the contract says, portion by portion. A note of an error says how far it came."""
        if id is not None:
            return int((await self._redrive(function, {"id": id}, 0))["redriven"])
        wanted = math.inf if limit is None else limit
        done = 0
        while done < wanted:
            members = await self._redrive(function, {"limit": min(PORTION, wanted - done)}, done)
            done += int(members["redriven"])
            # What is set aside meanwhile is not wanted: it may fail and come back for ever.
            wanted = min(wanted, done + int(members["remaining"]))
        return done

    async def purge(self, function: str) -> int:
        """As the contract says. A note of an error says what is not known."""
        try:
            return int((await self._ask("POST", function, "/purge", once=True))["purged"])
        except BrokerUnavailable as error:
            error.add_note(_PERHAPS_PURGED.format(function=function))
            raise

    async def _redrive(
        self, function: str, which: Mapping[str, Any], done: int
    ) -> Mapping[str, Any]:
        try:
            return await self._ask("POST", function, "/redrive", which, once=True)
        except (BrokerUnavailable, Throttled) as error:
            error.add_note(_SO_FAR.format(done=done, function=function))
            raise

    async def _ask(
        self,
        method: str,
        function: str,
        rest: str = "",
        query: Mapping[str, Any] = _NO_QUERY,
        *,
        once: bool = False,
    ) -> Mapping[str, Any]:
        path = f"{CONTROL}/dead-letters/{quote(check_function(function), safe='')}{rest}"
        answer = await self._connection.request_now(method, f"{path}?{urlencode(query)}", once=once)
        return answer.members()


def _dead_letter_from(members: Mapping[str, Any]) -> DeadLetter:
    others = dict(members)
    written = others.pop("payload_base64", None)
    payload = encode(others.pop("payload")) if written is None else base64.b64decode(written)
    return DeadLetter(payload=payload, **others)
