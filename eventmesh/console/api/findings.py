"""What the doctor finds, at the console."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from eventmesh.aio.clock import Clock
from eventmesh.console.api.gate import Asked
from eventmesh.console.api.timers import Route
from eventmesh.http.server.response import BytesResponse, json_response

FRESH_SECONDS: Final = 5.0
"""Seconds for which findings are told again to others who ask: to examine costs the broker."""

Examine: TypeAlias = Callable[[], Awaitable[Sequence[Mapping[str, Any]]]]
"""Examines the mesh, and returns the members of each finding. Raises InvocationError."""


class FindingsApi:
    """Answers requests for findings, one examination at a time."""

    def __init__(self, examine: Examine | None, clock: Clock) -> None:
        self._examine = examine
        self._clock = clock
        self._turn = asyncio.Lock()
        self._found: Sequence[Mapping[str, Any]] = ()
        self._examined: float | None = None
        self._fresh_until = 0.0

    def routes(self) -> Sequence[Route]:
        """The routes, without what guards them."""
        return (("GET", "findings", "read", "examine the mesh", self._answer),)

    async def _answer(self, _: Asked) -> BytesResponse:
        if self._examine is None:
            return json_response(200, {"findings": [], "examined": None})
        async with self._turn:
            if self._examined is None or self._clock.monotonic() >= self._fresh_until:
                self._found = await self._examine()
                self._examined = self._clock.now()
                self._fresh_until = self._clock.monotonic() + FRESH_SECONDS
            return json_response(200, {"findings": list(self._found), "examined": self._examined})
