"""Executions come to their end, whoever is killed meanwhile."""

import asyncio
import os
import time
from uuid import uuid4

import durable_worker
import pytest
from forking import forked_with

from eventmesh import BrokerUnavailable, FunctionNotFound
from eventmesh.client import Client

PROCESSES = 8
SPARED = 3
"""So many run at least: what is killed faster than it starts shows nothing."""

EXECUTIONS = "EVENTMESH_TEST_EXECUTIONS"
"""How many there are, where another number than that of the size is wanted."""

STATES = "SELECT status, count(*) FROM eventmesh_executions GROUP BY 1"


@pytest.fixture(scope="module")
def processes():
    """Where processes are forked from, with all modules loaded."""
    return forked_with("durable_worker", "dying")


class Workers:
    """Processes with the functions, of which one after the other is killed."""

    def __init__(self, processes, *urls):
        self._processes = processes
        self._arguments = (*urls, uuid4().hex[:8])
        self._running = []
        self.kills = 0

    def function(self, name):
        return f"orders{self._arguments[-1]}.{name}"

    def start(self):
        up = self._processes.Event()
        process = self._processes.Process(
            target=durable_worker.run, args=(*self._arguments, up), daemon=True
        )
        process.start()
        self._running.append((process, up))

    async def replace_one(self):
        """Kill the one that runs longest, and start another, if enough others run."""
        up = [each for each in self._running if each[1].is_set()]
        if len(up) <= SPARED:
            return
        self._running.remove(up[0])
        victim, _ = up[0]
        victim.kill()
        await asyncio.to_thread(victim.join)
        self.start()
        self.kills += 1

    def end(self):
        for process, _ in self._running:
            process.kill()


async def _send(client, function, number):
    while True:
        try:
            await client.send(function, {"number": number})
        except (FunctionNotFound, BrokerUnavailable):
            await asyncio.sleep(0.1)  # Its first process has not declared it.
        else:
            return


async def _kill_and_restart(workers, query, servers, total, pause):
    """Kill a process after the other until all is finished, and restart each server meanwhile."""

    async def restart():
        for number, server in enumerate(servers, start=1):
            while await finished() < total * number / (len(servers) + 1):
                await asyncio.sleep(0.1)
            await server.restart()

    async def finished():
        return (await query("SELECT count(*) FROM finished"))[0][0]

    async with asyncio.TaskGroup() as group:
        group.create_task(restart())
        while await finished() < total:
            await asyncio.sleep(pause)
            await workers.replace_one()


@pytest.mark.disruptive
async def test_executions_end_once_while_their_processes_are_killed(
    processes, postgres, postgres_url, query, rabbitmq, size, record_figure
):
    total = int(os.environ.get(EXECUTIONS, size(10, 1_000)))
    pause = size(4, 1)
    await query("CREATE TABLE noted (n INT, step INT)")
    await query("CREATE TABLE finished (n INT, steps INT, twice INT, price INT)")
    workers = Workers(processes, postgres_url, rabbitmq.url)
    begun = time.monotonic()
    try:
        for _ in range(PROCESSES):
            workers.start()
        async with Client(rabbitmq.url) as client, asyncio.timeout(300 + 3 * total):
            for number in range(total):
                await _send(client, workers.function("place"), number)
            await _kill_and_restart(workers, query, (rabbitmq, postgres), total, pause)
            # Each with the one that it invoked.
            while await query(STATES) != [("SUCCEEDED", 2 * total)]:
                await asyncio.sleep(0.1)
    finally:
        workers.end()
    lasted = time.monotonic() - begun
    finished = await query("SELECT n, steps, twice, price FROM finished ORDER BY n")
    steps = durable_worker.STEPS
    assert finished == [(number, steps, number * 2, number * steps) for number in range(total)]
    recorded_each = steps + durable_worker.CHAINED
    [(ran, noted)] = await query("SELECT count(*), count(DISTINCT (n, step)) FROM noted")
    assert noted == total * recorded_each
    ended = await query(
        "SELECT count(*), count(DISTINCT (execution, state::json->>'operation')) "
        "FROM eventmesh_events WHERE state::json->>'type' = 'StepSucceeded'"
    )
    # Nothing is recorded twice, and each message is a step as well.
    recorded = noted + total * durable_worker.MESSAGES
    assert ended == [(recorded, recorded)]
    record_figure(
        f"durable: {total:,} executions of {steps} steps, and {total:,} that they invoked, in "
        f"{PROCESSES} processes, {workers.kills} kill -9, at most one in {pause} s, broker and "
        f"database restarted once: all ended after {lasted:.0f} s, {ran - noted} steps run "
        "again, none recorded twice"
    )
