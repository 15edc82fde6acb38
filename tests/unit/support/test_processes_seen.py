"""What the tests see of processes."""

import asyncio
import os
import signal
from pathlib import Path

from processes_seen import is_group_stopped


async def test_a_group_is_stopped_once_all_its_processes_are(until):
    group = await asyncio.create_subprocess_exec(
        *("sh", "-c", "sleep 600 & echo begun; wait"),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert await group.stdout.readline() == b"begun\n"
        assert not is_group_stopped(group.pid)
        group.send_signal(signal.SIGSTOP)
        await until(lambda: _state(group.pid) == "T")
        assert not is_group_stopped(group.pid)
        os.killpg(group.pid, signal.SIGSTOP)
        await until(lambda: is_group_stopped(group.pid))
    finally:
        os.killpg(group.pid, signal.SIGKILL)
        await group.communicate()


def _state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
