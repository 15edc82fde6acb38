"""A network that stalls, resets and refuses, under sends, invokes and events."""

import asyncio
import random
import time

from fleet import Progress, fleet

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.errors import InvocationError
from eventmesh.topology import dead_letters

PUBLISH_SECONDS = 3.0
INVOKE_SECONDS = 3.0
SLACK = 5.0
"""Seconds by which a call may miss its deadline on a busy machine before it counts as hanging."""


async def disturb(proxy, chance, seconds):
    """Do what bad networks do for so long, and leave it in order."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        match chance.choice(["reset", "stall", "refuse", "slow"]):
            case "reset":
                proxy.reset()
            case "stall":
                proxy.stall()
            case "refuse":
                await proxy.refuse()
                proxy.reset()
            case "slow":
                proxy.latency = 0.02
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        proxy.latency = 0.0
        await proxy.forward()
        await asyncio.sleep(chance.uniform(0.2, 1.0))


async def until(stop, call):
    """Make a call again and again; return the longest time that one took."""
    longest = 0.0
    while not stop.is_set():
        started = time.monotonic()
        try:
            await call()
        except InvocationError:
            await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - started)
    return longest


async def consumers_are(rabbitmq, vhost, count):
    """Wait until each queue has so many consumers: those that were cut off are started again."""
    names = ("em.inbox.crash.work", "em.line.crash.double", "em.inbox.crash.witness")
    async with asyncio.timeout(60):
        while True:
            queues = await rabbitmq.queues(vhost)
            if all(queues[name]["consumers"] == count for name in names):
                return


async def test_a_failing_network_loses_nothing_and_leaves_nothing_behind(
    rabbitmq, proxy, mesh_of, broker_at, size, capsys
):
    seconds = size(15, 60)
    url = await rabbitmq.new_virtual_host()
    handled, witnessed = Progress(), Progress()
    confirmed, emitted = [], []
    counter = iter(range(10**9))

    def listen(_, line):
        what, number = line.split()
        (handled if what == "handled" else witnessed).add(int(number))

    cut_off = RabbitBroker(proxy.url(url), name="cut off", publish_timeout=PUBLISH_SECONDS)
    async with fleet(proxy.url(url), "crash", 2, listen), cut_off as broker:
        mesh = mesh_of(broker)
        stop = asyncio.Event()

        async def send():
            number = next(counter)
            await mesh.send("crash.work", {"number": number})
            confirmed.append(number)

        async def emit():
            number = next(counter)
            await mesh.emit("crash.happened", {"number": number})
            emitted.append(number)

        async def invoke():
            payload = {"number": 21}
            assert await mesh.invoke("crash.double", payload, timeout=INVOKE_SECONDS) == 42

        before = len(asyncio.all_tasks())
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(until(stop, call)) for call in (send, emit, invoke) * 3]
            await disturb(proxy, random.Random(3), seconds)
            stop.set()
        longest = max(call.result() for call in calls)

        # Whatever was confirmed arrives, and the same number of everything is there as before.
        async with asyncio.timeout(120):
            while not handled.seen.keys() >= set(confirmed):
                await handled.reach(len(handled.seen) + 1)
            while not witnessed.seen.keys() >= set(emitted):
                await witnessed.reach(len(witnessed.seen) + 1)
        async with broker_at(url) as direct:
            assert await direct.depth(dead_letters("crash.work")) == 0
        assert await mesh.invoke("crash.double", {"number": 1}, timeout=30) == 2
        assert len(asyncio.all_tasks()) <= before + 2
        await consumers_are(rabbitmq, url.rpartition("/")[2], 2)

    with capsys.disabled():
        print(
            f"\ncut: {seconds} s; {len(confirmed):,} sends and {len(emitted):,} events confirmed, "
            f"all arrived, {handled.duplicates + witnessed.duplicates} twice; the longest call "
            f"took {longest:.1f} s; one consumer a subscription and process at the end"
        )
    assert longest < max(PUBLISH_SECONDS, INVOKE_SECONDS) + SLACK
    assert confirmed
