import asyncio
import os
import re
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

DEADLINE = 60


class Launched:
    """The command `eventmesh` as a process, with all that it has printed."""

    def __init__(self, process):
        self._process = process
        self._printed = asyncio.Condition()
        self._seen = 0
        self._streams = 2
        self.lines = []

    async def read(self, stream):
        async for line in stream:
            async with self._printed:
                self.lines.append(line.decode().rstrip("\n"))
                self._printed.notify_all()
        async with self._printed:
            self._streams -= 1
            self._printed.notify_all()

    async def line(self, pattern):
        """Wait for a line, after the last one waited for, and return the match."""
        try:
            async with asyncio.timeout(DEADLINE), self._printed:
                while not (found := self._find(pattern)) and self._streams:
                    await self._printed.wait()
        except TimeoutError:
            found = None
        assert found, f"no {pattern!r} in:\n" + "\n".join(self.lines)
        return found

    def _find(self, pattern):
        for number, line in enumerate(self.lines[self._seen :], self._seen + 1):
            if found := re.search(pattern, line):
                self._seen = number
                return found
        return None

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


@pytest.fixture
def environment():
    """What the processes get: no setting of whoever runs the tests."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("EVENTMESH_")}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1"}


@asynccontextmanager
async def launched(*arguments, cwd, environment):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "eventmesh"),
        *arguments,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    launch = Launched(process)
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


@pytest.fixture
async def launch(tmp_path, environment):
    """Start the launcher in the test's own folder; it ends with the test."""
    async with AsyncExitStack() as launches:

        async def launch(*arguments, **variables):
            return await launches.enter_async_context(
                launched(*arguments, cwd=tmp_path, environment=environment | variables)
            )

        yield launch


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def run(tmp_path, environment):
    """Run a command of the launcher to its end, with what it reads on standard input."""

    async def run(*arguments, given="", **variables):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "eventmesh"),
            *arguments,
            cwd=tmp_path,
            env=environment | variables,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE):
            out, err = await process.communicate(given.encode())
        return Ended(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture
def write(tmp_path):
    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


@pytest.fixture
def dev(launch):
    """Start `eventmesh dev` on free ports."""

    async def dev(*arguments, **variables):
        return await launch("dev", "--port=0", "--admin-port=0", *arguments, **variables)

    return dev


@pytest.fixture
async def mesh(launch, write, request):
    """The services of the test module's APP, running."""
    write("app.py", request.module.APP)
    process = await launch("dev", "--no-reload", "--port=0", "--admin-port=0", "app.py")
    process.url = await process.started()
    return process


@pytest.fixture
def shop(run, mesh):
    """Run a command with the address of the mesh."""

    async def shop(*arguments, **variables):
        return await run(*arguments, EVENTMESH_URL=mesh.url, **variables)

    return shop
