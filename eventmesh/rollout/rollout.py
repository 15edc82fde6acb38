"""Carries out a rollout. Where it stands is at the cluster alone, so that another one goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeAlias

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, sleep
from eventmesh.clusters.abc import Canary, Cluster, ClusterError, ClusterService, ClusterUnavailable
from eventmesh.model.errors import EventmeshError, SettingsError
from eventmesh.model.value import value
from eventmesh.presence import Observer
from eventmesh.rollout.observe import VersionFigures
from eventmesh.rollout.rule import Bounds, Replicas, Verdict, find_problem, find_replicas, judge

LOOK_SECONDS: Final = 2.0
"""Seconds between two looks."""

AWAY_SECONDS: Final = 300.0
"""Seconds for which the cluster may be away before the rollout says where it stands, and ends."""

UPDATE_SECONDS: Final = 1800.0
"""Seconds that the replacement of all replicas may take."""

REPLICAS_NOTE: Final = "replicas"
IMAGE_NOTE: Final = "image"
REVISION_NOTE: Final = "revision"
OLD_NOTE: Final = "old"
NEW_NOTE: Final = "new"
"""What a canary notes of the version that it is beside: its replicas, its image, its name, and how
many replicas of the old and of the new one run side by side.
"""

Tell: TypeAlias = Callable[[str], None]


class RolledBack(EventmeshError):
    """The new version was above a bound, and the old one has its place again."""


@value
class Plan:
    """A new version: `image`, called `revision`.

    It begins with `share` of all invocations, with `most` replicas of both versions at most. A
    `rolling` update begins with one replica, whatever its share, and replaces the others as soon as
    that is there: a version above a bound is rolled back in either case.
    """

    service: str
    image: str
    revision: str
    share: float
    most: int
    bounds: Bounds
    rolling: bool = False

    def find_replicas(self, current: int) -> Replicas:
        """Return how many replicas run at first. Raises SettingsError if that cannot be."""
        if not self.rolling:
            return find_replicas(current, self.share, self.most)
        if current >= self.most:
            raise SettingsError(
                f"a rolling update starts one more replica beside {current}, and {self.most} are "
                "allowed: allow more with --max-replicas"
            )
        return Replicas(max(current, 1), 1)


class Rollout:
    """One canary, from its start to its end."""

    def __init__(
        self,
        cluster: Cluster,
        broker: Broker,
        observer: Observer,
        clock: Clock,
        *,
        plan: Plan,
        tell: Tell,
    ) -> None:
        self._cluster = cluster
        self._broker = broker
        self._clock = clock
        self._plan = plan
        self._tell = tell
        self._figures = VersionFigures(observer, clock, plan.service, plan.revision)
        self._said: Verdict | None = None

    async def run(self) -> None:
        """Start the canary, or go on with one that is there, and end with a promotion.

        Raises RolledBack; SettingsError if another version is being tried, or the plan cannot be;
        ClusterError if the cluster refuses, and ClusterUnavailable if it is away for too long.
        """
        service = await self._find()
        if service.canary is None and service.revision == self._plan.revision:
            self._tell(f"{service.name} is {self._plan.revision} already")
            return
        canary = service.canary or await self._note(service)
        if canary.revision != self._plan.revision:
            raise SettingsError(
                f"{service.name} tries {canary.revision} now: go on with that one, or take it back "
                f"with 'eventmesh deploy --abort {service.name}'"
            )
        if service.revision != canary.revision:
            await self._bake(await self._start(canary))
        self._tell(f"promoting {canary.revision}")
        await self._cluster.update(service.name, canary.image, canary.revision)
        await self._finish(canary)

    async def _note(self, service: ClusterService) -> Canary:
        """Note what is to be done, at a canary that has no replica yet.

        From now on the autoscaler takes no replica away.
        """
        replicas = self._plan.find_replicas(service.replicas)
        notes = {
            REPLICAS_NOTE: str(service.replicas),
            IMAGE_NOTE: service.image,
            REVISION_NOTE: service.revision,
            OLD_NOTE: str(replicas.old),
            NEW_NOTE: str(replicas.new),
        }
        self._tell(
            f"{service.name}: {replicas.new} replicas of {self._plan.revision} beside "
            f"{replicas.old} get {replicas.share:.0%} of all invocations"
        )
        plan = self._plan
        await self._cluster.start_canary(plan.service, plan.image, plan.revision, 0, notes)
        return Canary(plan.image, plan.revision, 0, 0, notes)

    async def _start(self, canary: Canary) -> Canary:
        """Bring both versions to the numbers of replicas that were noted."""
        old, new = (_read_count(canary.notes.get(name)) or 1 for name in (OLD_NOTE, NEW_NOTE))
        if canary.replicas < new:
            # First the old one: the share of the new one must not be larger for a moment.
            await self._grow(old)
            await self._cluster.start_canary(
                self._plan.service, canary.image, canary.revision, new, canary.notes
            )
        return replace(canary, replicas=new)

    async def _grow(self, replicas: int) -> None:
        """Have at least so many replicas of the old version, and wait for them."""
        name, start = self._plan.service, self._plan.bounds.start
        until = self._clock.monotonic() + start
        while (service := await self._find()).running < replicas:
            if service.replicas < replicas:
                await self._cluster.scale(name, replicas)
            if self._clock.monotonic() > until:
                raise ClusterError(
                    f"{name} did not come to {replicas} replicas within {start:g} s: is there room "
                    f"for them? Take the new version back with 'eventmesh deploy --abort {name}'"
                )
            await sleep(self._clock, LOOK_SECONDS)

    async def _bake(self, canary: Canary) -> None:
        """Wait until the canary may be promoted. Raises RolledBack."""
        while True:
            verdict = Verdict("wait", "the broker is away: nothing is known of the new version")
            if self._broker.ready:
                figures = self._figures.take(canary.replicas)
                verdict = judge(figures, self._plan.bounds, rolling=self._plan.rolling)
            self._say(verdict)
            if verdict.step == "promote":
                return
            if verdict.step == "roll back":
                await roll_back(self._cluster, await self._find(), self._tell, verdict.reason)
            await sleep(self._clock, LOOK_SECONDS)

    async def _finish(self, canary: Canary) -> None:
        """Wait until all replicas are replaced, and remove the canary. Raises RolledBack."""
        name, until = self._plan.service, self._clock.monotonic() + UPDATE_SECONDS
        while True:
            update = await self._cluster.find_update(name, canary.revision)
            problem = ""
            if update.stage == "failed":
                problem = update.detail
            elif self._clock.monotonic() > until:
                problem = f"not replaced within {UPDATE_SECONDS:g} s: {update.detail}"
            elif self._broker.ready:
                # How many there are is the engine's to say now: a new one may just start.
                problem = find_problem(self._figures.take(0), self._plan.bounds)
            if problem:
                await roll_back(self._cluster, await self._find(), self._tell, problem)
            self._say(Verdict("wait", update.detail))
            if update.stage == "done":
                break
            await sleep(self._clock, LOOK_SECONDS)
        await self._cluster.stop_canary(name)
        await _restore(self._cluster, await self._find(), canary)
        self._tell(f"{name} is {canary.revision} now")

    async def _find(self) -> ClusterService:
        """Return the service, waiting for a cluster that is away."""
        until = self._clock.monotonic() + AWAY_SECONDS
        while True:
            try:
                return await find_service(self._cluster, self._plan.service)
            except ClusterUnavailable as error:
                if self._clock.monotonic() > until:
                    raise
                self._say(Verdict("wait", str(error)))
            await sleep(self._clock, LOOK_SECONDS)

    def _say(self, verdict: Verdict) -> None:
        if verdict != self._said:
            self._said = verdict
            self._tell(verdict.reason)


async def find_service(cluster: Cluster, name: str) -> ClusterService:
    """Return a service. Raises ClusterError if there is none of that name."""
    services = await cluster.services()
    if name not in services:
        known = ", ".join(sorted(services)) or "none"
        raise ClusterError(f"the cluster has no service {name!r}; it has {known}")
    return services[name]


async def roll_back(cluster: Cluster, service: ClusterService, tell: Tell, reason: str) -> None:
    """Give the old version its place again. Raises RolledBack with the reason."""
    canary = _canary_of(service)
    tell(f"rolling back: {reason}")
    if service.revision == canary.revision:
        await cluster.update(service.name, canary.notes[IMAGE_NOTE], canary.notes[REVISION_NOTE])
    await cluster.stop_canary(service.name)
    await _restore(cluster, service, canary)
    raise RolledBack(f"{canary.revision} was rolled back: {reason}")


async def _restore(cluster: Cluster, service: ClusterService, canary: Canary) -> None:
    """Have as many replicas as before, unless somebody has scaled the service meanwhile."""
    before, old = (_read_count(canary.notes.get(name)) for name in (REPLICAS_NOTE, OLD_NOTE))
    if before is not None and service.replicas == old != before:
        await cluster.scale(service.name, max(before, 1))


def _canary_of(service: ClusterService) -> Canary:
    if service.canary is None:
        raise ClusterError(
            f"the new version of {service.name} is gone: somebody else has ended this rollout"
        )
    return service.canary


def _read_count(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 6 else None  # noqa: PLR2004 - 99,999


def describe_state(service: ClusterService) -> str:
    """Say where the rollout of a service stands."""
    canary = service.canary
    if canary is None:
        called = service.revision or service.image
        return f"{service.name} is {called}, with {service.replicas} replicas: no new version runs"
    share = Replicas(max(service.replicas, 1), canary.replicas).share
    if service.revision == canary.revision:
        return f"{service.name} is being promoted to {canary.revision}"
    return (
        f"{service.name} tries {canary.revision}: {canary.replicas} replicas beside "
        f"{service.replicas} get {share:.0%} of all invocations"
    )
