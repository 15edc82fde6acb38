"""The timers of a mesh, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import orjson
from pydantic import TypeAdapter, ValidationError

from eventmesh.client.http import HttpClient
from eventmesh.engine.timers.access import ListedTimers, TimerReport
from eventmesh.http.protocol import TIMERS
from eventmesh.model.message import JSON
from eventmesh.model.topology import check_function

_LISTED: Final = TypeAdapter(ListedTimers)


class HttpTimers:
    """The timers, through the control API. See `TimerAccess`."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def list(self) -> ListedTimers:
        return self._read((await self._client.request_now("GET", TIMERS)).body)

    async def run(self, function: str, schedule: str = "") -> TimerReport:
        return (await self._change("run", function, schedule))[0]

    async def pause(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        return await self._change("pause", function, schedule)

    async def resume(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        return await self._change("resume", function, schedule)

    async def _change(self, verb: str, function: str, schedule: str) -> Sequence[TimerReport]:
        response = await self._client.request_now(
            "POST",
            f"{TIMERS}/{quote(check_function(function), safe='')}/{verb}",
            body=orjson.dumps({"schedule": schedule}),
            headers={"Content-Type": JSON},
        )
        return self._read(response.body).timers

    def _read(self, body: bytes) -> ListedTimers:
        try:
            return _LISTED.validate_json(body)
        except ValidationError:
            raise self._client.unreadable() from None
