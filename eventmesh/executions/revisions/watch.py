"""Which versions of a durable function run in processes of the mesh."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.durable.keeper import Keeper
from eventmesh.model.errors import StoreUnavailable

NOTE_SECONDS: Final = 10.0
"""How often a process notes that its version runs, and learns of others."""

GONE_SECONDS: Final = 30.0
"""How long after its last note a version counts as one that runs."""

_log: Final = logging.getLogger(__name__)


class RevisionWatch:
    """Notes in the store which version runs here, and knows the others that run."""

    def __init__(self, function: str, revision: str, keeper: Keeper, clock: Clock) -> None:
        self.revision = revision
        self._function = function
        self._keeper = keeper
        self._clock = clock
        self._running: frozenset[str] = frozenset()
        self._before: frozenset[str] = frozenset()

    def runs_elsewhere(self, revision: str) -> bool:
        """Whether this is another version, and some process has it."""
        return revision != self.revision and revision in self._running | self._before

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Note and learn while entered; entering waits for the first time."""
        if not self.revision:
            yield
            return
        await self._look()
        async with background_task(self._look_again()):
            yield

    async def _look_again(self) -> None:
        while True:
            await sleep(self._clock, NOTE_SECONDS)
            await self._look()

    async def _look(self) -> None:
        now = self._clock.now()
        try:
            await self._keeper.note_revision(self._function, self.revision, now)
            seen = await self._keeper.list_revisions(self._function, now - GONE_SECONDS)
        except StoreUnavailable as error:
            _log.info("%s: which versions run is learnt later: %s", self._function, error)
            return
        # One that is missing for the first time may only not have noted itself yet, as all have not
        # when the store comes back.
        self._before, self._running = self._running, frozenset(seen)
