"""Several processes shown as one: each is asked at its own admin listener."""

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
from eventmesh.observability.admin import State

ANSWER_SECONDS: Final = 2.0
"""How long a process may take to answer before it counts as one that does not."""

_read_families: Final = cast(Callable[[str], Iterable[Metric]], text_string_to_metric_families)
_OPENMETRICS: Final = "application/openmetrics-text;version=1.0.0"

Addresses: TypeAlias = Callable[[], Mapping[str, str]]
"""The URLs of admin listeners, by what their processes are called; empty while there is none."""


@value
class Gathered(Collector):
    """Metrics of several processes, families of one name together."""

    families: Mapping[str, Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families.values()


class Gathering:
    """What workers show, as one: their metrics, each with its name as the label `worker`.

    Together they are alive if all are, and ready if one is: the others' work goes to that one.
    """

    def __init__(self, session: ClientSession, addresses: Addresses) -> None:
        self._session = session
        self._addresses = addresses

    async def metrics(self) -> Collector:
        """The metrics of those that answer."""
        families: dict[str, Metric] = {}
        for worker, answer in (await self._ask_all("/metrics", _OPENMETRICS)).items():
            if answer is not None:
                for family in _read_families(answer.decode()):
                    _add(families, family, worker)
        return Gathered(families)

    async def health(self) -> State:
        answers = await self._ask_all("/healthz")
        silent = {
            f"worker {worker}": "does not answer"
            for worker, answer in answers.items()
            if answer is None and self._addresses().get(worker)
        }
        return State(not silent, silent)

    async def readiness(self) -> State:
        checks: dict[str, str] = {}
        good = False
        for worker, answer in (await self._ask_all("/readyz")).items():
            if answer is None:
                checks[f"worker {worker}"] = "does not answer"
                continue
            told: dict[str, Any] = orjson.loads(answer)
            good = good or told["status"] == "ready"
            checks |= {f"worker {worker} {part}": said for part, said in told["checks"].items()}
        return State(good, checks)

    async def _ask_all(self, path: str, accept: str = "*/*") -> Mapping[str, bytes | None]:
        async with asyncio.TaskGroup() as tasks:
            asked = {
                worker: tasks.create_task(self._ask(address, path, accept))
                for worker, address in self._addresses().items()
            }
        return {worker: task.result() for worker, task in asked.items()}

    async def _ask(self, address: str, path: str, accept: str) -> bytes | None:
        """What is answered there, whatever the status; None if nothing is."""
        if not address:
            return None
        try:
            async with self._session.get(address + path, headers={"Accept": accept}) as answer:
                return await answer.read()
        except (ClientError, TimeoutError):
            return None


@asynccontextmanager
async def gathering(addresses: Addresses) -> AsyncGenerator[Gathering]:
    """Ask these processes, while entered."""
    async with ClientSession(timeout=ClientTimeout(ANSWER_SECONDS)) as session:
        yield Gathering(session, addresses)


def _add(families: dict[str, Metric], family: Metric, worker: str) -> None:
    gathered = families.setdefault(
        family.name, Metric(family.name, family.documentation, family.type, family.unit)
    )
    gathered.samples += [
        sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
    ]
