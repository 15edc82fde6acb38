"""Worker processes that a test starts and kills, and what they say while they live."""

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path

from footprint import Footprint

WORKER = Path(__file__).with_name("fleet_worker.py")
READY = "ready"
CLOCK_SET = "clock set"
FOOTPRINT = "footprint "
START_SECONDS = 120
ANSWER_SECONDS = 60
STANDSTILL_SECONDS = 120


class Worker:
    """One process. What it wrote is read to the end, also of one that was killed."""

    def __init__(self, process, listen):
        self.process = process
        self.ready = asyncio.Event()
        self._clock_set = asyncio.Event()
        self._footprints = asyncio.Queue()
        self._listen = listen

    @property
    def pid(self):
        return self.process.pid

    async def read(self):
        async for line in self.process.stdout:
            text = line.decode().strip()
            if text == READY:
                self.ready.set()
            elif text == CLOCK_SET:
                self._clock_set.set()
            elif text.startswith(FOOTPRINT):
                self._footprints.put_nowait(Footprint(*map(int, text.split()[1:])))
            else:
                self._listen(self, text)

    async def footprint(self):
        """Ask what it has now."""
        self.process.send_signal(signal.SIGUSR1)
        async with asyncio.timeout(ANSWER_SECONDS):
            return await self._footprints.get()

    async def set_clock(self, seconds):
        """Have its wall clock go so many seconds before or, below zero, after the machine's."""
        self._clock_set.clear()
        self.process.stdin.write(f"clock {seconds}\n".encode())
        async with asyncio.timeout(ANSWER_SECONDS):
            await self.process.stdin.drain()
            await self._clock_set.wait()

    def kill(self):
        """End it with no chance to say good-bye."""
        if self.process.returncode is None:
            self.process.kill()

    async def stop(self):
        """Tell it to drain, and wait until it has."""
        if self.process.returncode is None:
            self.process.terminate()
        return await self.process.wait()


class Fleet:
    """Workers that serve one of the services of `fleet_worker.py`, each in its own process."""

    def __init__(self, tasks, arguments, listen):
        self.workers = []
        self._tasks = tasks
        self._arguments = (sys.executable, str(WORKER), *arguments)
        self._listen = listen

    async def start(self):
        process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )
        worker = Worker(process, self._listen)
        self.workers.append(worker)
        self._tasks.create_task(worker.read())
        async with asyncio.timeout(START_SECONDS):
            await worker.ready.wait()
        return worker

    async def replace(self, worker):
        """Kill a worker and start another in its place."""
        worker.kill()
        await worker.process.wait()
        self.workers.remove(worker)
        return await self.start()


@asynccontextmanager
async def fleet(
    url: str, service: str, size: int, listen: Callable[[Worker, str], None], *arguments: str
):
    """`size` workers while entered; `listen` is called with each line that one of them says."""
    async with asyncio.TaskGroup() as tasks:
        running = Fleet(tasks, (url, service, *arguments), listen)
        try:
            await asyncio.gather(*(running.start() for _ in range(size)))
            yield running
        finally:
            for worker in running.workers:
                worker.kill()
            for worker in running.workers:
                await worker.process.wait()


class Progress:
    """Distinct things that happened, and a way to wait until they are so many."""

    def __init__(self):
        self.seen = {}
        self._changed = asyncio.Event()

    def add(self, key):
        self.seen[key] = self.seen.get(key, 0) + 1
        self._changed.set()

    @property
    def duplicates(self):
        return sum(self.seen.values()) - len(self.seen)

    async def reach(self, count):
        """Wait until `count` distinct things have happened, and not for ever for the next one."""
        while len(self.seen) < count:
            self._changed.clear()
            try:
                async with asyncio.timeout(STANDSTILL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                raise AssertionError(
                    f"{len(self.seen)} of {count}, and none for {STANDSTILL_SECONDS} s"
                ) from None
