"""A worker that drains a long queue does not grow with it."""

import asyncio
import time

from fleet import Progress, fleet

SENDERS = 200
SAID_EVERY = 1000
ALLOWED_GROWTH_KIB = 8 * 1024


async def test_memory_does_not_grow_with_the_backlog(
    rabbitmq, broker_at, mesh_of, size, record_figure
):
    total = size(60_000, 1_000_000)
    url = await rabbitmq.new_virtual_host()
    progress = Progress()
    memory = []

    def listen(_, line):
        _, count, kib = line.split()
        memory.append(int(kib))
        progress.add(int(count))

    async with broker_at(url) as broker:
        # Somebody has to make the inbox before it can be filled.
        async with fleet(url, "backlog", 1, listen) as workers:
            await workers.workers[0].stop()
        mesh = mesh_of(broker)

        async def sender(count):
            for number in range(count):
                await mesh.send("backlog.drain", {"number": number})

        async with asyncio.TaskGroup() as tasks:
            for _ in range(SENDERS):
                tasks.create_task(sender(total // SENDERS))
        started = time.monotonic()
        async with fleet(url, "backlog", 1, listen):
            await progress.reach(total // SAID_EVERY)
        seconds = time.monotonic() - started

    early, late = memory[len(memory) // 10], memory[-1]
    record_figure(
        f"backlog: {total:,} drained by one worker in {seconds:.0f} s, its start included; "
        f"its peak memory was {early / 1024:.1f} MiB after a tenth of them and "
        f"{late / 1024:.1f} MiB at the end"
    )
    assert late - early < ALLOWED_GROWTH_KIB
