"""A network that drops, stalls, resets and refuses, under sends, invokes and events."""

import asyncio
import random
import time
from collections import Counter

from fleet import Progress, fleet
from footprint import footprint

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.errors import InvocationError
from eventmesh.model.topology import dead_letters

CALL_SECONDS = 3.0
"""Until when a call has to have worked or failed."""

HANGING = 60.0
"""Seconds after which a call hangs, on a machine however busy."""

SETTLE_SECONDS = 90

WORKERS = 2
CALLERS = 3
"""Of each kind."""

WARM_UP = 2_000
"""Messages before anything is counted: buffers and caches are as large as they get."""

ALLOWED_GROWTH_KIB = 16 * 1024
FUNCTIONS = ("work", "double", "witness")
CONSUMED = [f"em.{kind}.crash.{name}" for name in FUNCTIONS for kind in ("inbox", "rpc")]


class Load:
    """Calls of all kinds, each of which is made again as soon as it has ended."""

    def __init__(self, mesh):
        self.sent, self.emitted = [], []
        self.failed = Progress()
        self.invoked = 0
        self.longest = 0.0
        self.over = False
        self._mesh = mesh
        self._numbers = iter(range(10**9))

    async def send(self):
        number = next(self._numbers)
        await self._mesh.send("crash.work", {"number": number})
        self.sent.append(number)

    async def emit(self):
        number = next(self._numbers)
        await self._mesh.emit("crash.happened", {"number": number})
        self.emitted.append(number)

    async def invoke(self):
        number = next(self._numbers)
        payload = {"number": number}
        assert await self._mesh.invoke("crash.double", payload, timeout=CALL_SECONDS) == 2 * number
        self.invoked += 1

    async def repeat(self, caller, call):
        while not self.over:
            started = time.monotonic()
            try:
                async with asyncio.timeout(HANGING):
                    await call()
            except InvocationError:
                self.failed.add((caller, call.__name__, started))
            self.longest = max(self.longest, time.monotonic() - started)

    def start(self, tasks):
        for caller in range(CALLERS):
            for call in (self.send, self.emit, self.invoke):
                tasks.create_task(self.repeat(caller, call))

    async def until_all_have_failed(self):
        """Wait until so many calls have failed as there are callers."""
        await self.failed.reach(len(self.failed.seen) + 3 * CALLERS)


async def disturb(proxy, chance, seconds, load):
    """Do what bad networks do for so long, and leave it in order."""
    # Longer than any call may take, for once.
    proxy.stall()
    await load.until_all_have_failed()
    await proxy.forward()
    ends = time.monotonic() + seconds
    cuts = 1
    while time.monotonic() < ends:
        match chance.choice(["drop", "reset", "stall", "refuse", "slow"]):
            case "drop":
                proxy.drop()
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
        cuts += 1
    return cuts


async def at_rabbitmq(rabbitmq, vhost):
    """How many connections and channels RabbitMQ has, and how many consumers of each queue."""
    connections = await rabbitmq.table("list_connections", "vhost", "channels")
    channels = [row["channels"] for row in connections if row["vhost"] == vhost]
    consumers = await rabbitmq.table("list_consumers", "queue_name", vhost=vhost)
    return len(channels), sum(channels), Counter(row["queue_name"] for row in consumers)


async def settled(rabbitmq, vhost, before):
    """Wait until RabbitMQ has no more than before: what was cut off ends, and starts again."""
    now = ()
    try:
        async with asyncio.timeout(SETTLE_SECONDS):
            while not now or now[0] > before[0] or now[1] > before[1] or now[2] != before[2]:
                now = await at_rabbitmq(rabbitmq, vhost)
    except TimeoutError:
        raise AssertionError(f"{now} is not settled as {before} was") from None
    return now[:2]


def has_more_tasks(after, before):
    return any(now.tasks > then.tasks for then, now in zip(before, after, strict=True))


async def all_arrived(progress, numbers):
    while not progress.seen.keys() >= set(numbers):
        await progress.reach(len(progress.seen) + 1)


async def test_a_failing_network_loses_nothing_and_leaves_nothing_behind(
    rabbitmq, proxy, mesh_of, broker_at, size, record_figure
):
    seconds = size(12, 60)
    url = await rabbitmq.new_virtual_host()
    vhost = url.rpartition("/")[2]
    handled, witnessed = Progress(), Progress()

    def listen(_, line):
        what, number = line.split()
        (handled if what == "handled" else witnessed).add(int(number))

    cut_off = RabbitBroker(proxy.url(url), name="cut off", publish_timeout=CALL_SECONDS)
    async with fleet(proxy.url(url), "crash", WORKERS, listen) as workers, cut_off as broker:
        mesh = mesh_of(broker)
        load = Load(mesh)

        async def footprints():
            return [footprint(), *[await one.footprint() for one in workers.workers]]

        async with asyncio.TaskGroup() as tasks:
            load.start(tasks)
            await handled.reach(WARM_UP)
            load.over = True
        before = await footprints(), await at_rabbitmq(rabbitmq, vhost)
        assert before[1][2] == dict.fromkeys(CONSUMED, WORKERS)

        load.over = False
        async with asyncio.TaskGroup() as tasks:
            load.start(tasks)
            cuts = await disturb(proxy, random.Random(3), seconds, load)
            load.over = True
        await all_arrived(handled, load.sent)
        await all_arrived(witnessed, load.emitted)
        connections, channels = await settled(rabbitmq, vhost, before[1])
        assert await mesh.invoke("crash.double", {"number": 1}, timeout=60) == 2
        async with asyncio.timeout(SETTLE_SECONDS):
            # A worker settles what it has answered a moment later.
            while has_more_tasks(after := await footprints(), before[0]):
                pass
        async with broker_at(url) as direct:
            assert await direct.depth(dead_letters("crash.work")) == 0

    growth = max(now.memory - then.memory for then, now in zip(before[0], after, strict=True))
    record_figure(
        f"cut: {cuts} faults in {seconds} s; {len(load.sent):,} sends and "
        f"{len(load.emitted):,} events confirmed, all arrived, "
        f"{handled.duplicates + witnessed.duplicates} twice; {load.invoked:,} invocations "
        f"answered; {len(load.failed.seen)} calls failed, the longest took {load.longest:.1f} "
        f"s; at the end {connections} connections, {channels} channels and one consumer a "
        f"subscription and process as before, and {growth / 1024:+.1f} MiB of memory"
    )
    for then, now in zip(before[0], after, strict=True):
        # Something may still refer to what was lost last.
        assert now.objects <= 2 * then.objects
    assert growth < ALLOWED_GROWTH_KIB
