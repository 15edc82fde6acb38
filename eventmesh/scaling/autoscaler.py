"""The loop: reads, has the rule decide, and tells the cluster."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.clusters.abc import Cluster, ClusterError, ClusterService
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.value import value
from eventmesh.scaling.reader import MeshReader, ServiceFigures
from eventmesh.scaling.report import Report
from eventmesh.scaling.rule import NO_MEMORY, Decision, Memory, Observation, Rule, decide
from eventmesh.scaling.stand_ins import StandIns

MAX_BACKOFF: Final = 30.0
"""Seconds between two attempts, at most, while the cluster does not answer."""

CLUSTER_SECONDS: Final = 60.0
"""Seconds that one look at the cluster, or one change of it, may take."""

FindRule = Callable[[ClusterService], Rule | None]
"""Returns the rule of a service, None for one that is not scaled. Raises SettingsError."""


@value
class Options:
    """How the loop runs: a look every `every` seconds. With `dry_run` nothing is changed."""

    every: float = 2.0
    dry_run: bool = False


class Autoscaler:
    """Scales the services of one mesh on one cluster.

    It keeps nothing that has to outlive it: another one begins with a calm window of its own.
    """

    def __init__(
        self,
        reader: MeshReader,
        cluster: Cluster,
        stand_ins: StandIns,
        *,
        find_rule: FindRule,
        clock: Clock,
        report: Report,
        options: Options,
    ) -> None:
        self._reader = reader
        self._cluster = cluster
        self._stand_ins = stand_ins
        self._find_rule = find_rule
        self._clock = clock
        self._report = report
        self._options = options
        self._memories: dict[str, Memory] = {}
        self._figures: Mapping[str, ServiceFigures] = {}
        self._read_at = -math.inf
        self._failures = 0

    async def run(self) -> None:
        """Look and decide, again and again, until cancelled. Raises SettingsError for a rule."""
        while True:
            await self.look()
            pause = self._options.every * 2 ** min(self._failures, 10)
            await sleep(self._clock, min(pause, max(MAX_BACKOFF, self._options.every)))

    async def look(self) -> None:
        """Look once at the mesh and the cluster, and do what follows."""
        try:
            with TimeLimit(self._clock, CLUSTER_SECONDS):
                services = await self._cluster.services()
        except (ClusterError, TimeoutError) as error:
            # How many replicas there are is not known: nothing can follow.
            self._fail(error)
            return
        rules = {
            name: rule
            for name, service in services.items()
            if (rule := self._find_rule(service)) is not None
        }
        await self._read(rules)
        failures = self._failures
        for name, rule in rules.items():
            await self._follow(services[name], rule)
        if self._failures == failures:
            self._failures = 0
            self._report.problem("cluster", "")

    def _fail(self, error: Exception) -> None:
        self._failures += 1
        self._report.problem("cluster", str(error) or "the cluster did not answer in time")

    async def _read(self, rules: Mapping[str, Rule]) -> None:
        try:
            self._figures = await self._reader.read(rules)
        except BrokerUnavailable as error:
            self._report.problem("broker", str(error))
            return
        self._read_at = self._clock.monotonic()
        self._report.problem("broker", "")

    async def _follow(self, service: ClusterService, rule: Rule) -> None:
        """Decide about one service, and do it."""
        now, figures = self._clock.monotonic(), self._figures.get(service.name)
        observation = Observation(
            now,
            now - self._read_at,
            None if figures is None else figures.demands,
            "" if figures is None else figures.instance.kept_by,
        )
        memory = self._memories.get(service.name, NO_MEMORY)
        decision = decide(service.replicas, observation, rule, memory)
        self._memories[service.name] = decision.memory
        goes = not decision.replicas
        decision = self._delay(service, decision, figures)
        demands = () if figures is None else figures.demands
        self._report.tell(service.name, service.replicas, decision, demands)
        if decision.replicas != service.replicas and not self._options.dry_run:
            await self._scale(service.name, decision.replicas, figures)
        if figures is not None and not goes and figures.running:
            self._stand_ins.end(service.name)
        elif figures is not None and not figures.running and not self._options.dry_run:
            self._stand_ins.begin(service.name, figures.instance)

    def _delay(
        self, service: ClusterService, decision: Decision, figures: ServiceFigures | None
    ) -> Decision:
        """Put off what would cost something now: the count stays, and the next look decides."""
        if decision.kind != "in":
            return decision
        if service.canary is not None:
            # The share that the new version gets is made of the numbers of replicas.
            reason = "a new version is being tried: nothing goes in meanwhile"
            return replace(decision, kind="hold", replicas=service.replicas, reason=reason)
        if figures is None or decision.replicas or self._options.dry_run:
            return decision
        if not self._stand_ins.begin(service.name, figures.instance):
            reason = "its last replica goes once something stands in for it"
            return replace(decision, kind="hold", replicas=service.replicas, reason=reason)
        return decision

    async def _scale(self, name: str, replicas: int, figures: ServiceFigures | None) -> None:
        idle = frozenset[str]() if figures is None else figures.idle
        try:
            with TimeLimit(self._clock, CLUSTER_SECONDS):
                await self._cluster.scale(name, replicas, idle)
        except (ClusterError, TimeoutError) as error:
            self._fail(error)
