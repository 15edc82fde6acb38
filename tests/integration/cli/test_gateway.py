import asyncio
import os
import signal

import aiohttp
import pytest

APP = """
import asyncio, os, sys
from eventmesh import Service, on

service = Service("shop", version="1.4")

@service.function(on.get("/hello"))
async def hello() -> str:
    return "hello"

@service.function(on.get("/wait"), timeout=None)
async def wait() -> None:
    print("waiting in", os.getpid(), file=sys.stderr, flush=True)
    await asyncio.get_running_loop().create_future()
"""
READY = r"is ready at (http://[0-9.:]+)"


@pytest.fixture
async def broker(rabbitmq):
    return {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}


@pytest.fixture
def started(launch, broker):
    """Start `run` or `gateway` on free ports, and give the process with its address."""

    async def started(*arguments):
        process = await launch(*arguments, "--port=0", "--admin-port=0", **broker)
        process.url = (await process.line(READY))[1]
        return process

    return started


async def test_requests_are_passed_on_to_other_processes(started, write):
    write("app.py", APP)
    await started("run", "app.py")
    gateway = await started("gateway")
    async with aiohttp.ClientSession(gateway.url) as http:
        async with http.get("/hello") as answer:
            assert (answer.status, await answer.json()) == (200, "hello")
        async with http.get("/nowhere") as answer:
            assert answer.status == 404
    gateway.kill(signal.SIGTERM)
    assert await gateway.code() == 0


async def test_a_request_whose_process_is_killed_is_answered(started, write):
    write("app.py", APP)
    service = await started("run", "app.py")
    gateway = await started("gateway")
    async with aiohttp.ClientSession(gateway.url) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.get("/wait"))
        pid = (await service.line(r"^waiting in (\d+)$"))[1]
        os.kill(int(pid), signal.SIGKILL)
        async with await waiting as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers


async def test_replacing_a_gateway_refuses_no_request(started, write):
    write("app.py", APP)
    await started("run", "app.py")
    gateway = await started("gateway")
    over = asyncio.Event()

    async def keep_asking():
        async with aiohttp.ClientSession(gateway.url) as http:
            while not over.is_set():
                for headers in ({}, {"Connection": "close"}):
                    async with http.get("/hello", headers=headers) as answer:
                        assert answer.status == 200

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(keep_asking())
        gateway.kill(signal.SIGHUP)
        await gateway.line("all workers are replaced")
        over.set()


async def test_there_is_no_gateway_to_the_embedded_broker(run):
    ended = await run("gateway", "--port=0", "--admin-port=0")
    assert ended.code == 2
    assert "--broker amqp://" in ended.err
