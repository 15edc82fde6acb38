"""A process that dies anywhere loses no effect and repeats none."""

import asyncio
import os
from uuid import uuid4

import dying
import pytest
from forking import forked_with

from eventmesh import StoreUnavailable
from eventmesh.client import Client

STEP = 10
"""The points are shared among so many tests, none of which takes long."""

FULL = "EVENTMESH_TEST_FULL" in os.environ
"""At full size a process dies at each point. Otherwise it does at a fifth of them: at one of ten on
SQLite, and at another one of ten on PostgreSQL."""


@pytest.fixture(scope="module")
def processes():
    """Where processes are forked from, with all modules loaded."""
    return forked_with("durable_worker", "dying")


class Mortals:
    """Processes of one service, one after the other."""

    def __init__(self, processes, query, store_url, broker_url):
        self._processes = processes
        self._query = query
        self._urls = store_url, broker_url
        self._suffix = uuid4().hex[:8]

    async def prepare(self):
        """Create the tables and queues, by a process that has nothing else to do."""
        await self._query("CREATE TABLE placed (n INT)")
        await self._query("CREATE TABLE booked (n INT, line INT)")
        up = self._processes.Event()
        process = self._start(0, up)
        await asyncio.to_thread(up.wait)
        await self._end(process)

    async def send(self, number):
        async with Client(self._urls[1]) as client:
            await client.send(f"orders{self._suffix}.place", {"number": number})

    async def run(self, number, die_at=0):
        """Run a process until the order is booked; return whether it died before that."""
        process = self._start(die_at)
        while process.is_alive():
            if await self._is_done(number):
                await self._end(process)
                return False
            await asyncio.sleep(0.1)
        assert process.exitcode == dying.DIED
        # As if the lease of the dead process were over, which takes seconds.
        await self._query("UPDATE eventmesh_lanes SET expires = 1")
        await self._query("UPDATE eventmesh_relays SET expires = 1")
        return True

    def _start(self, die_at, up=None):
        arguments = (*self._urls, self._suffix, die_at, up)
        process = self._processes.Process(target=dying.run, args=arguments, daemon=True)
        process.start()
        return process

    async def _end(self, process):
        process.terminate()
        await asyncio.to_thread(process.join)

    async def _is_done(self, number):
        try:
            booked = await self._query("SELECT line FROM booked WHERE n = :n", n=number)
            waiting = await self._query("SELECT id FROM eventmesh_outbox")
        except StoreUnavailable:
            return False  # SQLite's writers poll, and on a busy machine one may come too late.
        return len(booked) >= dying.COPIES and not waiting


def points(start):
    return range(1, STEP + 1) if FULL else [start]


@pytest.mark.parametrize(
    ("store_url", "first"),
    [("sqlite", first) for first in points(2)] + [("postgresql", first) for first in points(7)],
    indirect=["store_url"],
)
async def test_a_process_that_dies_at_any_point_has_each_effect_once(
    processes, store_url, query, rabbitmq_url, soon, first
):
    """It dies before and after each statement, commit, publish and ack, until there are no more."""
    mortals = Mortals(processes, query, store_url, rabbitmq_url)
    await soon(mortals.prepare())
    deaths = 0
    died = True
    while died:
        number = first + deaths * STEP
        await mortals.send(number)
        died = await soon(mortals.run(number, die_at=number))
        if died:
            deaths += 1
            assert not await soon(mortals.run(number))
        assert await query("SELECT n FROM placed WHERE n = :n", n=number) == [(number,)]
        booked = await query("SELECT line FROM booked WHERE n = :n ORDER BY line", n=number)
        assert [line for (line,) in booked] == list(range(dying.COPIES))
    assert deaths * STEP > 20
