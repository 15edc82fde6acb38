"""The timers of the mesh, in the control API."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.spec import SourceContext
from eventmesh.engine.timers.access import ListedTimers, TimerAccess, TimerReport
from eventmesh.engine.timers.mesh import MeshTimers
from eventmesh.engine.upkeep.dead_letters import ListFunctions
from eventmesh.http.api.executions import ApiEndpoint, ApiRoute
from eventmesh.http.protocol import TIMERS
from eventmesh.http.server.body import BodyLimit, read_body
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import PathValues
from eventmesh.model.errors import Problem


class _Order(BaseModel):
    """Which of several timers of a function is meant; the body may be empty."""

    schedule: str = Field(default="", max_length=512)


class TimersApi:
    """Answers requests about timers."""

    def __init__(self, context: SourceContext, limit: BodyLimit, functions: ListFunctions) -> None:
        self._limit = limit
        self._timers: TimerAccess = MeshTimers(
            context.broker, context.clock, functions, gateways_of(context.settings)
        )

    def routes(self) -> Sequence[ApiRoute]:
        """The routes, without what guards them."""
        one = f"{TIMERS}/{{function}}"
        timers = self._timers

        async def run(function: str, schedule: str) -> Sequence[TimerReport]:
            return [await timers.run(function, schedule)]

        return (
            ("GET", TIMERS, "read", "list timers", self._list),
            ("POST", f"{one}/run", "manage", "fire a timer of", self._changing(run)),
            ("POST", f"{one}/pause", "manage", "pause timers of", self._changing(timers.pause)),
            ("POST", f"{one}/resume", "manage", "resume timers of", self._changing(timers.resume)),
        )

    async def _list(self, _: Request, __: PathValues, ___: str) -> BytesResponse:
        return json_response(200, timers_members(await self._timers.list()))

    def _changing(
        self, change: Callable[[str, str], Awaitable[Sequence[TimerReport]]]
    ) -> ApiEndpoint:
        async def endpoint(request: Request, path: PathValues, _: str) -> BytesResponse:
            order = await self._read_order(request)
            changed = await change(path["function"], order.schedule)
            return json_response(200, timers_members(ListedTimers(changed)))

        return endpoint

    async def _read_order(self, request: Request) -> _Order:
        body = await read_body(request, self._limit)
        try:
            return _Order.model_validate_json(body) if body else _Order()
        except ValidationError:
            raise Problem(
                422, 'the request cannot be read: send {"schedule": "…"}, or no body'
            ) from None


def timers_members(listed: ListedTimers) -> dict[str, Any]:
    """Return timers as plain values."""
    return {
        "timers": [asdict(timer) for timer in listed.timers],
        "incomplete": list(listed.incomplete),
    }
