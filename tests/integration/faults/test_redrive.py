"""A redrive that is killed half way loses nothing: run again, it delivers the rest."""

import asyncio
import signal
import sys

from fleet import Progress, fleet
from launching import clean_environment

from eventmesh.engine.codecs.json import encode
from eventmesh.engine.settlement import dead_letter
from eventmesh.model.errors import Reject
from eventmesh.model.message import Message
from eventmesh.model.topology import dead_letters, inbox, to_queue

FUNCTION = "dead.letter"
BURIERS = 50


async def bury(broker, total):
    """Have so many dead letters, as a function makes them that rejects what it gets."""

    async def one_after_the_other(numbers):
        for number in numbers:
            message = Message(encode({"number": number}), f"n{number}", 1_700_000_000.0)
            letter = dead_letter(message, FUNCTION, Reject("buried"), "buried", 0.0)
            await broker.publish(to_queue(dead_letters(FUNCTION)), letter)

    await broker.declare([inbox(FUNCTION), dead_letters(FUNCTION)])
    async with asyncio.TaskGroup() as tasks:
        for first in range(BURIERS):
            tasks.create_task(one_after_the_other(range(first, total, BURIERS)))


async def redrive(url):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "eventmesh", "dlq", "redrive", FUNCTION, "--all"),
        *("--url", url),
        env=clean_environment(),
        stdout=asyncio.subprocess.DEVNULL,
    )


async def test_an_interrupted_redrive_loses_no_dead_letter(
    rabbitmq, proxy, broker_at, size, record_figure
):
    total = size(2_000, 10_000)
    url = await rabbitmq.new_virtual_host()
    progress = Progress()

    def listen(_, line):
        progress.add(int(line.split()[1]))

    async with broker_at(url) as broker, fleet(url, "dead", 1, listen):
        await bury(broker, total)
        # Twice, with as many left as were delivered: so it is in the middle of its work.
        for part in (total // 4, total // 2):
            # Through this process: it gets no further while this one stands still.
            killed = await redrive(proxy.url(url))
            await progress.reach(part)
            killed.kill()
            assert await killed.wait() == -signal.SIGKILL
        left = await broker.depth(dead_letters(FUNCTION))
        again = await redrive(url)
        assert await again.wait() == 0
        await progress.reach(total)
        assert await broker.depth(dead_letters(FUNCTION)) == 0
        assert await broker.depth(inbox(FUNCTION)) == 0

    assert progress.seen.keys() == set(range(total))
    record_figure(
        f"redrive: {total:,} dead letters, killed twice, the second time with {left:,} left, "
        f"and run again: all delivered, {progress.duplicates} twice"
    )
    assert left
