"""A redrive that is killed half way loses nothing: run again, it delivers the rest."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from fleet import Progress, fleet

from eventmesh.codecs.json import encode
from eventmesh.errors import Reject
from eventmesh.message import Message
from eventmesh.settlement import dead_letter
from eventmesh.topology import dead_letters, inbox, to_queue

REDRIVE = Path(__file__).parents[2] / "support" / "redrive.py"


async def test_an_interrupted_redrive_loses_no_dead_letter(rabbitmq, broker_at, size, capsys):
    total = size(1_000, 10_000)
    url = await rabbitmq.new_virtual_host()
    progress = Progress()

    def listen(_, line):
        progress.add(int(line.split()[1]))

    async with broker_at(url) as broker:
        await broker.declare([inbox("dead.letter"), dead_letters("dead.letter")])

        async def bury(numbers):
            for number in numbers:
                message = Message(encode({"number": number}), f"n{number}", 1_700_000_000.0)
                letter = dead_letter(message, "dead.letter", Reject("buried"), "buried", 0.0)
                await broker.publish(to_queue(dead_letters("dead.letter")), letter)

        async with asyncio.TaskGroup() as tasks:
            for part in range(50):
                tasks.create_task(bury(range(part, total, 50)))

        redrive = await asyncio.create_subprocess_exec(
            sys.executable, str(REDRIVE), url, "dead.letter", stdout=asyncio.subprocess.PIPE
        )
        async with fleet(url, "dead", 1, listen):
            await progress.reach(total // 2)
            os.kill(redrive.pid, signal.SIGKILL)
            await redrive.wait()
            again = await asyncio.create_subprocess_exec(
                sys.executable, str(REDRIVE), url, "dead.letter"
            )
            assert await again.wait() == 0
            await progress.reach(total)
        assert await broker.depth(dead_letters("dead.letter")) == 0
        assert await broker.depth(inbox("dead.letter")) == 0

    assert progress.seen.keys() == set(range(total))
    with capsys.disabled():
        print(
            f"\nredrive: {total:,} dead letters, killed half way and run again: all delivered, "
            f"{progress.duplicates} twice"
        )
