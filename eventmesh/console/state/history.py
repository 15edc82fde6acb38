"""What the console keeps of runs in a store; without one, nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from eventmesh.aio.clock import Clock
from eventmesh.model.errors import StoreUnavailable
from eventmesh.model.runs import KeptRun, KeptRuns, Place, Run, RunFilter, Sight
from eventmesh.model.settings import Settings

if TYPE_CHECKING:
    from eventmesh.store.history.keeper import RunHistory

MAX_RECORDED: Final = 100
"""Runs of one process that are taken from one answer: the console asks for no more."""


class History:
    """The history of a console, which may have none. Nothing of it raises or is waited for long."""

    def __init__(self, kept: RunHistory | None = None) -> None:
        self._kept = kept
        self._last: Mapping[str, frozenset[int]] = {}

    @property
    def is_kept(self) -> bool:
        """Whether there is a history at all."""
        return self._kept is not None

    def record(self, sights: Sequence[Sight]) -> None:
        """Keep the runs that have ended and were not in the answers before these."""
        if self._kept is None or not sights:
            return
        self._kept.record(self._list_new(sights))
        self._last = {each.instance: frozenset(r.number for r in each.ended) for each in sights}

    def _list_new(self, sights: Sequence[Sight]) -> Iterator[tuple[str, Run]]:
        """Yield what is new: a process tells of each run as long as it ended lately."""
        for sight in sights:
            known = self._last.get(sight.instance, frozenset())
            for run in sight.ended[-MAX_RECORDED:]:
                if run.number not in known:
                    yield sight.instance, run

    async def read(self, which: RunFilter, before: Place | None, most: int) -> tuple[KeptRuns, str]:
        """Return a page, the latest first, and why it cannot be read, if so."""
        if self._kept is None:
            return KeptRuns(), ""
        try:
            return await self._kept.read(which, before, most), ""
        except StoreUnavailable as error:
            return KeptRuns(), str(error)

    async def find(self, id: str) -> tuple[Sequence[KeptRun], str]:
        """Return what has an id or a correlation id, and why it cannot be read, if so."""
        if self._kept is None:
            return (), ""
        try:
            return await self._kept.find(id), ""
        except StoreUnavailable as error:
            return (), str(error)

    def members(self) -> dict[str, Any] | None:
        """Return for how many seconds runs are kept, and how many were not; None without it."""
        if self._kept is None:
            return None
        return {
            "keep": self._kept.keep,
            "dropped": self._kept.dropped,
            "unavailable": self._kept.unavailable_reason,
        }


NO_HISTORY: Final = History()


@asynccontextmanager
async def open_history(settings: Settings, clock: Clock) -> AsyncGenerator[History]:
    """Keep a history in the store of the settings, if there is one, while entered.

    Raises SettingsError for the store's URL, and where its libraries are not installed.
    """
    if not settings.store:
        yield NO_HISTORY
        return
    from eventmesh.store.history.keeper import open_run_history  # noqa: PLC0415 - with a store only

    async with open_run_history(
        settings.store, clock, settings.console_keep, settings.store_migrate
    ) as kept:
        yield History(kept)
