"""Adds up what all processes of a mesh have done, also of those that are gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from eventmesh.model.work import NOTHING, Work
from eventmesh.presence.instance import INTERVAL, Instance
from eventmesh.presence.observer import MAX_INSTANCES

NEW_SECONDS: Final = 6 * INTERVAL
"""Seconds after its start in which all that a process has done is new to whoever sees it first."""


class WorkMeter:
    """The work that was done since the meter began, by revision and function."""

    def __init__(self) -> None:
        self._seen: dict[str, Mapping[str, Work]] = {}
        self._totals: dict[tuple[str, str], Work] = {}
        self._began = False

    def take(self, instances: Iterable[Instance], now: float) -> Mapping[tuple[str, str], Work]:
        """Add what these processes have done since the last time, and return all so far.

        `now` is in seconds since the epoch. What a process had done before it was first seen is
        counted only if it has just started.
        """
        for instance in instances:
            if instance.stand_in:
                continue
            before = self._seen.pop(instance.id, None)
            if before is None and (not self._began or now - instance.started > NEW_SECONDS):
                before = instance.work
            for function, work in instance.work.items():
                key = (instance.revision, function)
                done = work.since((before or {}).get(function, NOTHING))
                self._totals[key] = self._totals.get(key, NOTHING).plus(done)
            self._seen[instance.id] = instance.work
            if len(self._seen) > MAX_INSTANCES:
                del self._seen[next(iter(self._seen))]
        self._began = True
        return self._totals
