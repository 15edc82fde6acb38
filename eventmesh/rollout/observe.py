"""How a version does, from what its processes announce."""

from __future__ import annotations

from eventmesh.aio.clock import Clock
from eventmesh.model.work import NOTHING, Work
from eventmesh.presence import Instance, Observer
from eventmesh.presence.observer import MAX_INSTANCES
from eventmesh.rollout.rule import Figures


class VersionFigures:
    """The figures of one revision of a service, also of its processes that are gone."""

    def __init__(self, observer: Observer, clock: Clock, service: str, revision: str) -> None:
        self._observer = observer
        self._clock = clock
        self._service = service
        self._revision = revision
        self._began = clock.monotonic()
        self._work: dict[str, Work] = {}
        self._started: float | None = None
        self._missing_since: float | None = None

    def take(self, wanted: int) -> Figures:
        """Return how the version does, of which `wanted` replicas should run."""
        instances = [each for each in self._observer.instances.values() if self._is_one(each)]
        for instance in instances:
            if instance.id in self._work or len(self._work) < MAX_INSTANCES:
                self._work[instance.id] = self._work_of(instance)
        if instances:
            started = min(each.started for each in instances)
            self._started = started if self._started is None else min(self._started, started)
        hosts = {each.host for each in instances}
        now = self._clock.monotonic()
        if self._started is None or len(hosts) >= wanted:
            self._missing_since = None
        elif self._missing_since is None:
            self._missing_since = now
        work = NOTHING
        for done in self._work.values():
            work = work.plus(done)
        return Figures(
            now - self._began,
            None if self._started is None else max(self._clock.now() - self._started, 0.0),
            work,
            0.0 if self._missing_since is None else max(now - self._missing_since, 0.001),
        )

    def _is_one(self, instance: Instance) -> bool:
        return (
            not instance.stand_in
            and instance.revision == self._revision
            and self._service in instance.services
        )

    def _work_of(self, instance: Instance) -> Work:
        done = NOTHING
        for function, work in instance.work.items():
            if function.partition(".")[0] == self._service:
                done = done.plus(work)
        return done
