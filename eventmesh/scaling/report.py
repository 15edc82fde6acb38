"""Tells what the autoscaler decides: a line of the log for each decision, and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.registry import Collector

from eventmesh.observability.admin import HealthStatus
from eventmesh.scaling.rule import Decision, Demand

_log: Final = logging.getLogger(__name__)

Part = Literal["broker", "cluster"]


class Report:
    """What was decided last for each service, and whether the broker and the cluster answer.

    It is the source of the admin listener. The process is ready while both answer.
    """

    def __init__(self, *, dry_run: bool = False) -> None:
        self._registry = registry = CollectorRegistry()
        self._dry_run = dry_run
        self._said: dict[str, tuple[int, str]] = {}
        self._problems: dict[Part, str] = {}

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"eventmesh_autoscale_{name}", text, ["service"], registry=registry)

        self._replicas = gauge("replicas", "Replicas that the cluster is told to have.")
        self._wanted = gauge("wanted_replicas", "Replicas that were decided on.")
        self._needed = gauge("needed_replicas", "Replicas that are needed, without bounds.")
        self._waiting = gauge("waiting", "Invocations that wait in queues or for a permit.")
        self._running = gauge("running", "Invocations that run.")
        self._arriving = gauge("arriving_per_second", "Invocations that arrive in a second.")
        self._decisions = Counter(
            "eventmesh_autoscale_decisions",
            "Decisions, by what follows: out, in or hold.",
            ["service", "kind"],
            registry=registry,
        )
        self._up = Gauge(
            "eventmesh_autoscale_up",
            "Whether the broker and the cluster answer.",
            ["part"],
            registry=registry,
        )

    def tell(
        self, service: str, current: int, decision: Decision, demands: tuple[Demand, ...]
    ) -> None:
        """Tell a decision: in the log if it changes anything, or is the first one that does not."""
        self._replicas.labels(service).set(current)
        self._wanted.labels(service).set(decision.replicas)
        if decision.need is not None:
            self._needed.labels(service).set(decision.need)
        self._waiting.labels(service).set(sum(each.waiting for each in demands))
        self._running.labels(service).set(sum(each.running for each in demands))
        self._arriving.labels(service).set(sum(each.arriving for each in demands))
        self._decisions.labels(service, decision.kind).inc()
        gist = (decision.replicas, decision.kind)
        if self._said.get(service) == gist and decision.kind == "hold":
            return
        self._said[service] = gist
        _log.info(
            "%s%s: %s, %d → %d: %s",
            "would scale " if self._dry_run else "",
            service,
            decision.kind,
            current,
            decision.replicas,
            decision.reason,
            extra={
                "service": service,
                "kind": decision.kind,
                "replicas": current,
                "wanted": decision.replicas,
            },
        )

    def problem(self, part: Part, text: str) -> None:
        """Tell that a part does not answer, "" that it does: in the log when that changes."""
        self._up.labels(part).set(not text)
        if bool(self._problems.get(part)) != bool(text):
            if text:
                _log.warning("nothing is scaled: %s", text)
            else:
                _log.info("the %s answers again", part)
        self._problems[part] = text

    async def metrics(self) -> Collector:
        return self._registry

    async def health(self) -> HealthStatus:
        return HealthStatus(ok=True, checks={})

    async def readiness(self) -> HealthStatus:
        checks: Mapping[str, str] = {
            part: problem or "answers" for part, problem in self._problems.items()
        }
        return HealthStatus(len(checks) == 2 and not any(self._problems.values()), checks)  # noqa: PLR2004 - both parts


OnProblem = Callable[[Part, str], None]
