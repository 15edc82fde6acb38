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
READY = r"\(process (\d+)\) is ready at (http://[0-9.:]+)"


@pytest.fixture
async def broker(rabbitmq):
    return {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}


@pytest.fixture
def started(launch, broker):
    """Start `run` or `gateway` on free ports, and give the process with its address."""

    async def started(*arguments):
        process = await launch(*arguments, "--port=0", "--admin-port=0", **broker)
        pid, process.url = (await process.line(READY)).groups()
        process.worker = int(pid)
        return process

    return started


@pytest.fixture
def served(asked):
    """Wait until a gateway has heard of the service, which may be late on a busy machine."""
    return lambda gateway: asked(f"{gateway.url}/hello", lambda status, _: status == 200)


async def test_requests_are_passed_on_to_other_processes(started, write, served):
    write("app.py", APP)
    await started("run", "app.py")
    gateway = await started("gateway")
    await served(gateway)
    async with aiohttp.ClientSession(gateway.url) as http:
        async with http.get("/hello") as answer:
            assert (answer.status, await answer.json()) == (200, "hello")
        async with http.get("/nowhere") as answer:
            assert answer.status == 404
    gateway.kill(signal.SIGTERM)
    assert await gateway.code() == 0


async def test_a_request_whose_process_is_killed_is_answered(started, write, served):
    write("app.py", APP)
    service = await started("run", "app.py")
    gateway = await started("gateway")
    await served(gateway)
    async with aiohttp.ClientSession(gateway.url) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.get("/wait"))
        pid = (await service.line(r"^waiting in (\d+)$"))[1]
        os.kill(int(pid), signal.SIGKILL)
        async with await waiting as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers


@pytest.mark.disruptive
async def test_the_broker_may_come_last_and_go_away(launch, write, rabbitmq, broker):
    write("app.py", APP)
    await rabbitmq.stop()
    processes = [
        await launch(*arguments, "--port=0", "--admin-port=0", **broker)
        for arguments in (["gateway"], ["run", "app.py"])
    ]
    for process in processes:
        await process.line("cannot be reached")
    await rabbitmq.start()
    url, _ = [(await process.line(READY))[2] for process in processes]
    async with aiohttp.ClientSession(url) as http:

        async def ask():
            async with http.get("/hello") as answer:
                return answer.status, "Retry-After" in answer.headers

        while await ask() != (200, False):
            pass
        await rabbitmq.stop()
        while (answer := await ask()) == (200, False):
            pass
        assert answer == (503, True)
        await rabbitmq.start()
        while await ask() != (200, False):
            pass


@pytest.mark.disruptive
async def test_one_that_starts_during_an_alarm_says_to_come_again(started, write, rabbitmq, served):
    write("app.py", APP)
    await started("run", "app.py")
    gateway = await started("gateway")
    await rabbitmq.raise_memory_alarm()
    os.kill(gateway.worker, signal.SIGKILL)
    await gateway.line("requests get a 503")
    async with aiohttp.ClientSession(gateway.url) as http:
        async with http.get("/hello") as answer:
            assert answer.status == 503
            assert "Retry-After" in answer.headers
        await rabbitmq.clear_memory_alarm()
        await gateway.line(READY)
        await served(gateway)
        async with http.get("/hello") as answer:
            assert (answer.status, await answer.json()) == (200, "hello")


@pytest.mark.parametrize("replaced", ["gateway", "service"])
async def test_replacing_workers_refuses_no_request(started, write, replaced, served):
    write("app.py", APP)
    processes = {
        "service": await started("run", "app.py"),
        "gateway": await started("gateway"),
    }
    gateway = processes["gateway"]
    await served(gateway)
    over = asyncio.Event()

    async def keep_asking():
        async with aiohttp.ClientSession(gateway.url) as http:
            while not over.is_set():
                for headers in ({}, {"Connection": "close"}):
                    async with http.get("/hello", headers=headers) as answer:
                        assert answer.status == 200, await answer.text()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(keep_asking())
        processes[replaced].kill(signal.SIGHUP)
        await processes[replaced].line("all workers are replaced")
        over.set()


async def test_there_is_no_gateway_to_the_embedded_broker(run):
    ended = await run("gateway", "--port=0", "--admin-port=0")
    assert ended.code == 2
    assert "--broker amqp://" in ended.err
