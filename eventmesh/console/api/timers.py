"""Timers at the console: when they fire, fired now, paused and resumed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from eventmesh.console.api.gate import Answer, Asked
from eventmesh.console.sources import Source
from eventmesh.engine.timers.access import ListedTimers, TimerReport
from eventmesh.engine.timers.mesh import MeshTimers
from eventmesh.http.api.timers import timers_members
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.model.access.identity import Scope

Route = tuple[str, str, Scope, str, Answer]
"""The method and path below the API, the scope that is needed, what is done, and what answers."""


class TimersApi:
    """Answers requests about timers."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._timers = MeshTimers(source.broker, source.clock, self._list_names, source.gateways)

    def routes(self) -> Sequence[Route]:
        """The routes, without what guards them."""
        timers, one = self._timers, "timers/{function}"

        async def run(function: str, schedule: str) -> Sequence[TimerReport]:
            return [await timers.run(function, schedule)]

        return (
            ("GET", "timers", "read", "list timers", self._list),
            ("POST", f"{one}/run", "manage", "fire a timer of", _changing(run)),
            ("POST", f"{one}/pause", "manage", "pause timers of", _changing(timers.pause)),
            ("POST", f"{one}/resume", "manage", "resume timers of", _changing(timers.resume)),
        )

    async def _list(self, _: Asked) -> BytesResponse:
        return json_response(200, timers_members(await self._timers.list()))

    async def _list_names(self) -> Sequence[str]:
        """Return functions with timers: no other service is asked."""
        return [
            function["name"]
            for instance in self._source.instances().values()
            for function in instance.functions
            if any(trigger.get("kind") in _KINDS for trigger in function["triggers"])
        ]


_KINDS = ("every", "cron", "at")


def _changing(change: Callable[[str, str], Awaitable[Sequence[TimerReport]]]) -> Answer:
    async def answer(asked: Asked) -> BytesResponse:
        changed = await change(asked.path["function"], asked.text("schedule"))
        return json_response(200, timers_members(ListedTimers(changed)))

    return answer
