import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from launching import DEADLINE, clean_environment, launched


@pytest.fixture
def environment():
    return clean_environment()


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
