import asyncio
import socket
from contextlib import AsyncExitStack

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import generate_latest

from eventmesh.observability.admin import HealthStatus, admin_server
from eventmesh.observability.aggregation import AggregatedAdmin, aggregate_admins


class Process:
    """A process with an admin listener, to be changed by a test."""

    def __init__(self):
        self.registry = CollectorRegistry()
        self.ready = HealthStatus(ok=True, checks={"broker": "ready"})
        Gauge("waiting", "Who waits.", registry=self.registry).set(7)
        Counter("calls", "Calls.", ["function"], registry=self.registry).labels("a.b").inc(3)

    async def metrics(self):
        return self.registry

    async def health(self):
        return HealthStatus(ok=True, checks={})

    async def readiness(self):
        return self.ready


@pytest.fixture
async def workers():
    """Two processes by their numbers, and their addresses, to be changed by a test."""
    processes = {"1": Process(), "2": Process()}
    async with AsyncExitStack() as stack:
        addresses = {
            number: await stack.enter_async_context(admin_server("127.0.0.1", 0, process))
            for number, process in processes.items()
        }
        yield processes, addresses


@pytest.fixture
async def gathered(workers):
    _, addresses = workers
    async with aggregate_admins(lambda: addresses) as gathered:
        yield gathered


async def shown(gathered: AggregatedAdmin) -> list[str]:
    return generate_latest(await gathered.metrics()).decode().splitlines()


async def test_families_of_one_name_stand_together_and_say_whose_they_are(gathered):
    assert [line for line in await shown(gathered) if "created" not in line] == [
        "# HELP waiting Who waits.",
        "# TYPE waiting gauge",
        'waiting{worker="1"} 7.0',
        'waiting{worker="2"} 7.0',
        "# HELP calls_total Calls.",
        "# TYPE calls_total counter",
        'calls_total{function="a.b",worker="1"} 3.0',
        'calls_total{function="a.b",worker="2"} 3.0',
    ]


async def test_one_that_does_not_answer_has_no_metrics_and_no_health(gathered, workers):
    _, addresses = workers
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        addresses["2"] = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        assert not [line for line in await shown(gathered) if 'worker="2"' in line]
        assert await gathered.health() == HealthStatus(
            ok=False, checks={"worker 2": "does not answer"}
        )
        ready = await gathered.readiness()
    assert ready.checks == {"worker 1 broker": "ready", "worker 2": "does not answer"}


async def test_one_that_is_yet_to_start_is_well_and_not_ready(gathered, workers):
    _, addresses = workers
    addresses |= {"1": "", "2": ""}
    assert await gathered.health() == HealthStatus(ok=True, checks={})
    assert await gathered.readiness() == HealthStatus(
        ok=False, checks={"worker 1": "does not answer", "worker 2": "does not answer"}
    )


async def test_they_are_ready_when_one_is(gathered, workers):
    processes, _ = workers
    away = HealthStatus(ok=False, checks={"broker": "not ready"})
    processes["1"].ready = away
    assert await gathered.readiness() == HealthStatus(
        ok=True, checks={"worker 1 broker": "not ready", "worker 2 broker": "ready"}
    )
    processes["2"].ready = away
    assert not (await gathered.readiness()).ok


async def test_one_that_accepts_and_says_nothing_is_not_waited_for_long(
    gathered, workers, monkeypatch
):
    _, addresses = workers
    with socket.create_server(("127.0.0.1", 0)) as silent:
        addresses["2"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        async with asyncio.timeout(60):
            assert (await gathered.health()).checks == {"worker 2": "does not answer"}
