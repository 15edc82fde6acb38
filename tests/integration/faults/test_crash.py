"""Workers are killed and the broker is restarted: each invocation is handled, no dead letters."""

import asyncio
import random
import time

import pytest
from fleet import Progress, fleet

from eventmesh import Context, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.engine.settlement import MAX_CRASHES, MAX_HAND_BACKS
from eventmesh.host import host_services
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, to_queue

SENDERS = 50


async def send_all(mesh, numbers):
    """Send each number until the broker has confirmed it."""
    pending = list(numbers)

    async def sender():
        while pending:
            number = pending.pop()
            while True:
                try:
                    await mesh.send("crash.work", {"number": number})
                except BrokerUnavailable:
                    continue
                break

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SENDERS):
            tasks.create_task(sender())


@pytest.mark.disruptive
async def test_killed_workers_and_a_restarted_broker_lose_nothing(
    rabbitmq, broker_at, mesh_of, size, record_figure
):
    total, kills = size(3_000, 20_000), size(8, 120)
    url = await rabbitmq.new_virtual_host()
    progress = Progress()
    chance = random.Random(7)

    def listen(_, line):
        progress.add(int(line.split()[1]))

    started = time.monotonic()
    async with (
        broker_at(url) as broker,
        fleet(url, "crash", 4, listen) as workers,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(send_all(mesh_of(broker), range(total)))
        for kill in range(kills):
            # Spread over the work: each kill waits until its part of it has been done.
            await progress.reach(total * (kill + 1) // (kills + 2))
            await workers.replace(chance.choice(workers.workers))
            if kill == kills // 2:
                await rabbitmq.restart()
        await progress.reach(total)
        seconds = time.monotonic() - started
        assert await broker.depth(dead_letters("crash.work")) == 0
        for worker in workers.workers:
            assert await worker.stop() == 0
        assert await broker.depth(inbox("crash.work")) == 0

    assert progress.seen.keys() == set(range(total))
    record_figure(
        f"crash: {total:,} handled in {seconds:.0f} s, {kills} kill -9 of 4 workers, one "
        f"broker restart, {progress.duplicates} handled twice, none lost, none dead-lettered"
    )


async def test_a_long_task_that_every_deploy_hands_back_is_never_set_aside(rabbitmq, broker_at):
    """RabbitMQ up to 4.2 counts each hand-back like a crash."""
    url = await rabbitmq.new_virtual_host()
    app, begun, may_end = Service("deploys"), asyncio.Queue(), asyncio.Event()
    deploys = MAX_CRASHES + MAX_HAND_BACKS + 5

    @app.function(timeout=None)
    async def work(ctx: Context) -> None:
        begun.put_nowait((ctx.attempt, ctx.redeliveries))
        await may_end.wait()

    async with broker_at(url) as broker, asyncio.timeout(250):
        await broker.declare([inbox("deploys.work")])
        await broker.publish(
            to_queue(inbox("deploys.work")), Message(b"{}", "a-1", SystemClock().now())
        )
        for deploy in range(deploys):
            async with host_services([app], broker, Settings(grace=0), http=None):
                assert await begun.get() == (1, deploy)
        may_end.set()
        async with host_services([app], broker, Settings(grace=5), http=None):
            assert await begun.get() == (1, deploys)
        assert await broker.depth(dead_letters("deploys.work")) == 0
        assert await broker.depth(inbox("deploys.work")) == 0
