"""The functions that no process serves any more, as the records of their services name them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Final, TypeAlias

from eventmesh.aio.clock import Clock
from eventmesh.model.errors import InvocationError

FRESH_SECONDS: Final = 60.0
"""Seconds for which they are not asked for again: to read a record takes its lease."""

ListRecorded: TypeAlias = Callable[[], Awaitable[Collection[str]]]
"""Returns the functions in all records. Raises InvocationError."""


class Recorded:
    """The functions in all records, as they were at most `FRESH_SECONDS` ago."""

    def __init__(self, list_recorded: ListRecorded | None, clock: Clock) -> None:
        self._list = list_recorded
        self._clock = clock
        self._turn = asyncio.Lock()
        self._known: Collection[str] = ()
        self._fresh_until = -1.0

    async def names(self) -> Collection[str]:
        """Return them; what cannot be read stays as it was."""
        if self._list is None:
            return ()
        async with self._turn:
            if self._clock.monotonic() >= self._fresh_until:
                self._fresh_until = self._clock.monotonic() + FRESH_SECONDS
                # The broker may be away, or not to be asked: the next time it may be.
                with suppress(InvocationError):
                    self._known = await self._list()
            return self._known
