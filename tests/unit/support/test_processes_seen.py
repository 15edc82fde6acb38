"""What the tests see of processes."""

import asyncio
import signal

from processes_seen import is_stopped


async def test_a_process_is_stopped_once_none_of_its_threads_runs(until):
    process = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        assert not is_stopped(process.pid)
        process.send_signal(signal.SIGSTOP)
        await until(lambda: is_stopped(process.pid))
        process.send_signal(signal.SIGCONT)
        await until(lambda: not is_stopped(process.pid))
    finally:
        process.kill()
        await process.wait()
    assert is_stopped(process.pid)
