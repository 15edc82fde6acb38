"""The command `eventmesh` as a process."""

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager, suppress

DEADLINE = 120


class Launched:
    """The command `eventmesh` as a process, with all that it has printed."""

    def __init__(self, process, listen):
        self._process = process
        self._listen = listen
        self._printed = asyncio.Condition()
        self._seen = 0
        self._streams = 2
        self.lines = []

    async def read(self, stream):
        async for line in stream:
            async with self._printed:
                self.lines.append(line.decode().rstrip("\n"))
                self._listen(self.lines[-1])
                self._printed.notify_all()
        async with self._printed:
            self._streams -= 1
            self._printed.notify_all()

    async def line(self, pattern):
        """Wait for a line, after the last one waited for, and return the match."""
        try:
            async with asyncio.timeout(DEADLINE):
                async for number, line in self._lines_from(self._seen):
                    if found := re.search(pattern, line):
                        self._seen = number + 1
                        return found
        except TimeoutError:
            pass
        raise AssertionError(f"no {pattern!r} in:\n" + "\n".join(self.lines))

    async def _lines_from(self, number):
        """The lines, and those to come until it has ended."""
        while True:
            async with self._printed:
                while number == len(self.lines) and self._streams:
                    await self._printed.wait()
            if number == len(self.lines):
                return
            yield number, self.lines[number]
            number += 1

    async def started(self):
        """Wait until services run, and return the address of HTTP."""
        address = await self.line(r"^HTTP +(http://\S+)$")
        await self.line("^Press Ctrl-C")
        return address[1]

    async def code(self):
        """Wait until it ends, and return its exit code."""
        async with asyncio.timeout(DEADLINE):
            return await self._process.wait()

    def kill(self, number):
        """Send a signal to the process alone, as `kill` does."""
        self._process.send_signal(number)

    def press_ctrl_c(self):
        """Interrupt all of its processes, as a terminal does."""
        os.killpg(self._process.pid, signal.SIGINT)


def clean_environment():
    """What the processes get: no setting of whoever runs the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EVENTMESH_")}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


@asynccontextmanager
async def launched(*arguments, cwd, environment, listen=lambda line: None, within=()):
    """The launcher with these arguments, killed on leaving; `listen` is called with each line.

    `within` is the command that runs it, where it is not to be run as it is.
    """
    process = await asyncio.create_subprocess_exec(
        *(*within, sys.executable, "-P", "-m", "eventmesh"),
        *arguments,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    launch = Launched(process, listen)
    try:
        async with asyncio.TaskGroup() as readers:
            readers.create_task(launch.read(process.stdout))
            readers.create_task(launch.read(process.stderr))
            try:
                yield launch
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    finally:
        await process.wait()
