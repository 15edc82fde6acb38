import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
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
        try:
            async with asyncio.timeout(DEADLINE):
                out, err = await process.communicate(given.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Ended(process.returncode, out.decode(), err.decode())

    return run


@pytest.fixture
def ask(run):
    """Run a command that changes nothing, again until it ends as expected.

    Processes have a second or two to answer its question, which a busy machine may outlast.
    """

    async def ask(*arguments, expect, **variables):
        ended = None
        try:
            async with asyncio.timeout(DEADLINE):
                while not expect(ended := await run(*arguments, **variables)):
                    pass
        except TimeoutError:
            raise AssertionError(f"{arguments}: still {ended}") from None
        return ended

    return ask


@pytest.fixture
def write(tmp_path):
    """Write a file of a service, as a whole: whoever watches it never sees the half of it."""

    def write(path, text):
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        written = file.with_name(f"{file.name}.written")
        written.write_text(text)
        written.replace(file)
        return file

    return write


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:

        async def get(url):
            async with session.get(url) as answer:
                return answer.status, await answer.text()

        yield get


@pytest.fixture
def asked(http):
    """Ask until the answer is as expected, and return it.

    A worker has two seconds for its part of the answer, which a busy machine may outlast.
    """

    async def asked(url, expect):
        async with asyncio.timeout(60):
            while not expect(*(answer := await http(url))):
                await asyncio.sleep(0.05)
        return answer

    return asked


@pytest.fixture
def set_constant(tmp_path):
    """Set a constant of a module in all processes that get these variables."""

    def set_constant(module, name, number):
        (tmp_path / "site").mkdir()
        text = f"import {module}\n{module}.{name} = {number}\n"
        (tmp_path / "site" / "sitecustomize.py").write_text(text)
        return {"PYTHONPATH": str(tmp_path / "site")}

    return set_constant


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
