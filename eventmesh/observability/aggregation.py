"""The admin endpoints of several processes as one: each process is asked at its own listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families,  # pyright: ignore[reportUnknownVariableType] - not annotated
)
from prometheus_client.registry import Collector

from eventmesh.model.value import value
from eventmesh.observability.admin import HealthStatus

ANSWER_SECONDS: Final = 2.0
"""Seconds that a process has to answer."""

_read_families: Final = cast(Callable[[str], Iterable[Metric]], text_string_to_metric_families)
_OPENMETRICS: Final = "application/openmetrics-text;version=1.0.0"

Addresses: TypeAlias = Callable[[], Mapping[str, str]]
"""The URLs of the admin listeners by worker; empty for a worker without one."""


OwnMetrics: TypeAlias = Callable[[], Iterable[Metric]]
"""What whoever keeps the workers counts itself, under names that no worker has."""


def _no_metrics() -> Iterable[Metric]:
    return ()


@value
class AggregatedMetrics(Collector):
    """Metrics of several processes, merged by the name of their family."""

    families: Mapping[str, Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families.values()


class AggregatedAdmin:
    """The metrics and health of all workers; each metric has the label `worker`.

    They are alive if all of them are, and ready if one of them is: that one takes the work of the
    others.
    """

    def __init__(self, session: ClientSession, addresses: Addresses, own: OwnMetrics) -> None:
        self._session = session
        self._own = own
        self._addresses = addresses

    async def metrics(self) -> Collector:
        """Return the metrics of the workers that answer, and those of whoever keeps them."""
        families = {family.name: family for family in self._own()}
        for worker, answer in (await self._ask_all("/metrics", _OPENMETRICS)).items():
            if answer is not None:
                for family in _read_families(answer.decode()):
                    _add(families, family, worker)
        return AggregatedMetrics(families)

    async def health(self) -> HealthStatus:
        answers = await self._ask_all("/healthz")
        silent = {
            f"worker {worker}": "does not answer"
            for worker, answer in answers.items()
            if answer is None and self._addresses().get(worker)
        }
        return HealthStatus(not silent, silent)

    async def readiness(self) -> HealthStatus:
        checks: dict[str, str] = {}
        ok = False
        for worker, answer in (await self._ask_all("/readyz")).items():
            if answer is None:
                checks[f"worker {worker}"] = "does not answer"
                continue
            reply: dict[str, Any] = orjson.loads(answer)
            ok = ok or reply["status"] == "ready"
            checks |= {f"worker {worker} {part}": state for part, state in reply["checks"].items()}
        return HealthStatus(ok, checks)

    async def _ask_all(self, path: str, accept: str = "*/*") -> Mapping[str, bytes | None]:
        async with asyncio.TaskGroup() as tasks:
            asked = {
                worker: tasks.create_task(self._ask(address, path, accept))
                for worker, address in self._addresses().items()
            }
        return {worker: task.result() for worker, task in asked.items()}

    async def _ask(self, address: str, path: str, accept: str) -> bytes | None:
        """Return the body of the answer, whatever its status; None if there is no answer."""
        if not address:
            return None
        try:
            async with self._session.get(address + path, headers={"Accept": accept}) as answer:
                return await answer.read()
        except (ClientError, TimeoutError):
            return None


@asynccontextmanager
async def aggregate_admins(
    addresses: Addresses, own: OwnMetrics = _no_metrics
) -> AsyncGenerator[AggregatedAdmin]:
    """Yield the admin source that asks the processes at these addresses."""
    async with ClientSession(timeout=ClientTimeout(ANSWER_SECONDS)) as session:
        yield AggregatedAdmin(session, addresses, own)


def _add(families: dict[str, Metric], family: Metric, worker: str) -> None:
    merged = families.setdefault(
        family.name, Metric(family.name, family.documentation, family.type, family.unit)
    )
    merged.samples += [
        sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
    ]
