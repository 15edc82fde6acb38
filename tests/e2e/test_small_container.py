"""Instances that take what they can get, in a container of 256 MB: the service goes on."""

import asyncio
import json
import sys
from secrets import token_hex

import pytest_asyncio
from aiohttp import ClientError, ClientSession
from composed import run

KILLS = 120
SERVICE = '''
import itertools
import os
import signal
import time

from eventmesh import Service, on

small = Service("small")


OPTIONS = {"isolation": "process", "instances": 2, "memory": "128M", "idle_timeout": "200ms"}


@small.function(on.post("/die/{how}"), timeout="30s", **OPTIONS)
def die(how: str) -> None:
    """End in the middle, with a child that would live on."""
    if os.fork() == 0:
        time.sleep(600)
    if how == "memory":
        eaten = []
        while True:
            eaten.append(b"x" * 2**20)
    if how == "status":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)


@small.function(on.post("/loop"), timeout="1s", **OPTIONS)
def loop() -> None:
    if os.fork() == 0:
        time.sleep(600)
    sum(itertools.repeat(1))


@small.function(on.get("/pid"))
async def pid() -> int:
    return os.getpid()
'''
ERRORS = {
    "loop": "small.loop: timeout",
    "memory": "Runtime.OutOfMemory",
    "status": "exit status 3",
    "crash": "signal SIGSEGV",
}
"""What the log says of each way to end."""


@pytest_asyncio.fixture(loop_scope="session")
async def container(tmp_path):
    """The address of a container of 256 MB with the service, and its name."""
    name = f"eventmesh-small-{token_hex(4)}"
    eventmesh = (sys.executable, "-m", "eventmesh")
    await run(*eventmesh, "new", "small", cwd=tmp_path)
    (tmp_path / "small" / "app.py").write_text(SERVICE)
    await run(*eventmesh, "build", "small", "--tag", name, cwd=tmp_path)
    limits = ("--memory", "256m", "--memory-swap", "256m")
    settings = ("EVENTMESH_BROKER=memory://", "EVENTMESH_LOG_FORMAT=json")
    given = [part for setting in settings for part in ("--env", setting)]
    published = ("--publish", "127.0.0.1::8080")
    try:
        options = ("--name", name, *limits, *given, *published)
        await run("docker", "run", "--detach", *options, f"small:{name}")
        port = (await run("docker", "port", name, "8080")).strip().rpartition(":")[2]
        yield f"http://127.0.0.1:{port}", name
    finally:
        await run("docker", "rm", "--force", name)
        await run("docker", "image", "rm", "--force", f"small:{name}")


async def get_pid(http):
    """The service's process, as soon as it answers."""
    async with asyncio.timeout(120):
        while True:
            try:
                async with http.get("/pid") as response:
                    if response.status == 200:
                        return await response.json()
            except ClientError:  # It is not there yet.
                pass
            await asyncio.sleep(0.2)


async def count_processes(name):
    return len((await run("docker", "top", name, "-eo", "pid")).split()) - 1


async def test_a_small_container_outlives_what_runs_in_it(container, say):
    url, name = container
    numbers = iter(range(KILLS))
    async with ClientSession(url) as http:
        before = await get_pid(http)
        alone = await count_processes(name)

        async def die_in_turn():
            for number in numbers:
                how = tuple(ERRORS)[number % len(ERRORS)]
                path = "/loop" if how == "loop" else f"/die/{how}"
                async with http.post(path) as response:
                    await response.read()
                    assert response.status in (500, 504)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(die_in_turn())
        assert await get_pid(http) == before
        async with asyncio.timeout(60):
            # The zygote is there since the first of them.
            while await count_processes(name) > alone + 1:
                await asyncio.sleep(0.2)
    logged = (await run("sh", "-c", f"docker logs {name} 2>&1")).splitlines()
    failed = [line for line in logged if json.loads(line)["logger"] == "eventmesh.invocations"]
    failed = [line for line in failed if "small.pid" not in line]
    seen = {how: sum(text in line for line in failed) for how, text in ERRORS.items()}
    # Who is killed where the container has no more memory is the kernel's choice: any instance.
    assert sum(seen.values()) == len(failed) == KILLS, (seen, failed[-1])
    assert seen["memory"] >= KILLS / len(ERRORS)
    (state,) = json.loads(await run("docker", "inspect", name))
    assert (state["State"]["Running"], state["RestartCount"]) == (True, 0)
    say(f"a container of 256 MB: {KILLS} kills, 4 at once, {seen}; the service went on")
