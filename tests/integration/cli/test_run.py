import asyncio
import json
import os
import re
import signal
import socket

import aiohttp
import pytest

from eventmesh import BrokerUnavailable, Client

APP = """
import asyncio, os, sys
from pathlib import Path
from eventmesh import Service, on

if Path("broken").exists():
    os._exit(9)

service = Service("greeter")

@service.function(on.get("/hello"))
async def hello() -> str:
    return "{}"

@service.function(on.get("/slow"), timeout=None)
async def slow() -> str:
    print("running", file=sys.stderr, flush=True)
    await asyncio.to_thread(open, "pipe")
    return "done"

@service.function(on.get("/hang"), timeout=None)
async def hang() -> str:
    print("running", file=sys.stderr, flush=True)
    open("pipe")
    return "done"
"""
HANGING = """
import sys
from eventmesh import Service, on

service = Service("hanging")

@service.function(on.get("/hang"), timeout=0.2, concurrency=1)
def hang() -> str:
    open("pipe").close()
    return "done"

@service.function(on.get("/hello"))
async def hello() -> str:
    return "Hello"
"""
ENDING = """
import os
from eventmesh import Service

service = Service("ending")

@service.function
async def charge() -> None:
    os.write(2, b"charged\\n")
    os._exit(9)
"""
HELLO = APP.format("Hello")
FORKING = """
import ctypes, os, signal
from eventmesh import Service, on

service = Service("forker")

@service.function(on.get("/fork"))
async def fork() -> int:
    child = {}.fork()
    while not child:
        signal.pause()
    return child
"""
READY = r"worker (\d+) \(process (\d+)\) is ready at (http://\S+)"


@pytest.fixture
def launched(launch):
    """Start `eventmesh run` on free ports; the process then has its addresses."""

    async def launched(*arguments, workers=1, **variables):
        process = await launch(
            "run", "--port=0", "--admin-port=0", "--log-format=text", *arguments, **variables
        )
        process.admin = (await process.line(r"of all workers: (http://\S+)$"))[1]
        process.workers = {}
        for _ in range(workers):
            number, pid, process.url = (await process.line(READY)).groups()
            process.workers[number] = int(pid)
        return process

    return launched


@pytest.fixture
def pipe(tmp_path):
    """What lets the slow handlers go on: opening it for writing, and closing it again."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


async def released(pipe):
    await asyncio.to_thread(pipe.write_text, "")


async def test_it_serves_and_shows_its_workers_as_one(launched, write, http, asked):
    write("app.py", HELLO)
    process = await launched("app.py")
    assert await http(f"{process.url}/hello") == (200, '"Hello"')
    healthy = (200, '{"status":"ok"}')
    await asked(f"{process.admin}/healthz", lambda *answer: answer == healthy)
    _, ready = await asked(f"{process.admin}/readyz", lambda status, _: status == 200)
    assert json.loads(ready)["checks"] == {
        "worker 1 services": "running",
        "worker 1 broker": "ready",
    }
    counted = r'eventmesh_invocations_total{function="greeter.hello",.*worker="1"} 1'
    await asked(f"{process.admin}/metrics", lambda _, metrics: re.search(counted, metrics))
    await process.line(r"greeter.hello: success .* worker=1$")


async def test_a_worker_that_dies_is_started_again(launched, write, http):
    write("app.py", HELLO)
    process = await launched("app.py")
    os.kill(process.workers["1"], signal.SIGKILL)
    await process.line(r"worker 1 \(process \d+\) was ended by SIGKILL$")
    await process.line(r"worker 1 is started again in 0\.\d s$")
    await process.line(READY)
    assert await http(f"{process.url}/hello") == (200, '"Hello"')


@pytest.mark.parametrize("forked_by", ["os", "ctypes.PyDLL(None)"])
async def test_a_worker_that_dies_before_its_forked_child(launched, write, http, forked_by):
    write("app.py", FORKING.format(forked_by))
    process = await launched("app.py")
    _, child = await http(f"{process.url}/fork")
    try:
        os.kill(process.workers["1"], signal.SIGKILL)
        await process.line(r"worker 1 \(process \d+\) was ended by SIGKILL$")
        await process.line(READY)
        process.kill(signal.SIGHUP)
        await process.line("all workers are replaced$")
        process.kill(signal.SIGTERM)
        await process.line(" stopped$")
    finally:
        os.kill(int(child), signal.SIGKILL)
    assert await process.code() == 0


async def test_one_that_dies_again_and_again_is_started_for_ever(launched, write, http, tmp_path):
    write("app.py", HELLO)
    process = await launched("app.py")
    broken = write("broken", "")
    os.kill(process.workers["1"], signal.SIGKILL)
    await process.line(r"worker 1 \(process \d+\) ended with code 9$")
    await process.line(r"worker 1 is started again in .* s: it failed 2 times in a row$")
    assert (await http(f"{process.admin}/readyz"))[0] == 503
    await process.line(r"it failed 3 times in a row$")
    broken.unlink()
    await process.line(READY)
    assert await http(f"{process.url}/hello") == (200, '"Hello"')


async def test_what_cannot_be_loaded_at_first_ends_it_with_one_message(launch, write):
    write("app.py", "oops")
    process = await launch("run", "--port=0", "--admin-port=0", "app.py")
    await process.line("^Error: app.py cannot be imported: NameError")
    assert await process.code() == 2
    assert sum(line.startswith("Error") for line in process.lines) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_stop_it_finishes_what_runs_and_takes_no_more(
    launched, write, http, pipe, number
):
    write("app.py", HELLO)
    process = await launched("app.py")
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(http(f"{process.url}/slow"))
        await process.line("^running$")
        process.kill(number)
        await process.line(f"{number.name}: the workers finish what runs$")
        await process.line(r"SIGTERM: finishing what runs worker=1$")
        # Until the port is closed, somebody may still get in, and is then answered.
        while not isinstance(await outcome(http(f"{process.url}/hello")), Exception):
            pass
        await released(pipe)
    assert slow.result() == (200, '"done"')
    assert await process.code() == 0


async def test_a_signal_that_comes_by_two_ways_is_one(launched, write, http, pipe, set_constant):
    write("app.py", HELLO)
    # However long it takes until the second one is sent.
    patient = set_constant("eventmesh.processes.supervisor", "REPEAT_SECONDS", 600)
    process = await launched("app.py", **patient)
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(http(f"{process.url}/slow"))
        await process.line("^running$")
        process.kill(signal.SIGTERM)
        await process.line("SIGTERM: the workers finish what runs$")
        process.kill(signal.SIGTERM)
        await released(pipe)
    assert slow.result() == (200, '"done"')
    assert await process.code() == 0


async def test_ctrl_c_twice_waits_for_nothing(launched, write, http, pipe):
    write("app.py", HELLO)
    process = await launched("app.py")
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(outcome(http(f"{process.url}/slow")))
        await process.line("^running$")
        process.press_ctrl_c()
        await process.line("SIGINT: the workers finish what runs$")
        process.press_ctrl_c()
        assert await process.code() == 130
    assert isinstance(slow.result(), aiohttp.ClientError)


async def test_what_takes_longer_than_the_grace_time_is_cancelled(
    launched, write, http, pipe, set_constant
):
    write("app.py", HELLO)
    # However long it takes to end once all is cancelled.
    patient = set_constant("eventmesh.processes.run_workers", "END_MARGIN", 600)
    process = await launched("--grace=10ms", "app.py", **patient)
    async with asyncio.TaskGroup() as tasks:
        slow = tasks.create_task(http(f"{process.url}/slow"))
        await process.line("^running$")
        process.kill(signal.SIGTERM)
        assert await process.code() == 0
    assert slow.result()[0] == 503


async def test_a_worker_that_has_to_be_killed_is_no_success(launched, write, http, pipe):
    write("app.py", APP)
    process = await launched("--grace=0.1", "app.py")
    async with asyncio.TaskGroup() as tasks:
        lost = tasks.create_task(outcome(http(f"{process.url}/hang")))
        await process.line("^running$")
        process.kill(signal.SIGTERM)
        await process.line(r"worker 1 \(process \d+\) did not end within 5\.1 s and is killed$")
        assert await process.code() == 1
    assert isinstance(lost.result(), aiohttp.ClientError)


async def test_sighup_replaces_the_workers_and_refuses_no_request(launched, write, http):
    write("app.py", HELLO)
    process = await launched("app.py")
    answers = set()
    over = asyncio.Event()

    async def keep_asking():
        async with aiohttp.ClientSession() as session:
            while not over.is_set():
                for headers in ({}, {"Connection": "close"}):
                    async with session.get(f"{process.url}/hello", headers=headers) as answer:
                        answers.add((answer.status, await answer.text()))

    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(keep_asking())
        for text in ("Good morning", "Good evening"):
            write("app.py", APP.format(text))
            process.kill(signal.SIGHUP)
            await process.line("all workers are replaced$")
            assert await http(f"{process.url}/hello") == (200, f'"{text}"')
        over.set()
    assert answers <= {(200, f'"{text}"') for text in ("Hello", "Good morning", "Good evening")}


async def test_code_that_cannot_be_loaded_replaces_nothing(launched, write, http):
    write("app.py", HELLO)
    process = await launched("app.py")
    write("app.py", "oops")
    process.kill(signal.SIGHUP)
    await process.line("^Error: app.py cannot be imported: NameError")
    await process.line("worker 2 did not start, and no more workers are replaced")
    assert not [line for line in process.lines if "worker 2 is started again" in line]
    assert await http(f"{process.url}/hello") == (200, '"Hello"')
    write("app.py", APP.format("Mended"))
    process.kill(signal.SIGHUP)
    await process.line("all workers are replaced$")
    assert await http(f"{process.url}/hello") == (200, '"Mended"')


async def test_a_restart_that_is_asked_for_while_one_fails(launched, write, http, asked, pipe):
    write("app.py", HELLO)
    process = await launched("app.py")
    write("app.py", "print('loading', flush=True); open('pipe'); oops")
    process.kill(signal.SIGHUP)
    await process.line("^loading$")
    write("app.py", APP.format("Mended"))
    process.kill(signal.SIGHUP)
    await released(pipe)
    await process.line("worker 2 did not start, and no more workers are replaced")
    await process.line("all workers are replaced$")
    _, ready = await asked(f"{process.admin}/readyz", lambda status, _: status == 200)
    assert json.loads(ready)["checks"].keys() == {"worker 2 services", "worker 2 broker"}
    assert await http(f"{process.url}/hello") == (200, '"Mended"')


async def test_a_worker_ends_when_its_supervisor_is_gone(launched, write):
    write("app.py", HELLO)
    process = await launched("app.py")
    process.kill(signal.SIGKILL)
    await process.line(r"the supervisor is gone; this worker ends too worker=1$")
    await process.line("stopped worker=1$")


async def test_a_worker_that_hangs_is_not_healthy(launched, write, http, asked, pipe):
    write("app.py", HELLO)
    process = await launched("app.py")
    async with asyncio.TaskGroup() as tasks:
        hanging = tasks.create_task(http(f"{process.url}/hang"))
        await process.line("^running$")
        health = await http(f"{process.admin}/healthz")
        assert health == (503, '{"status":"not ok","checks":{"worker 1":"does not answer"}}')
        assert (await http(f"{process.admin}/readyz"))[0] == 503
        await released(pipe)
    assert hanging.result() == (200, '"done"')
    await asked(f"{process.admin}/healthz", lambda status, _: status == 200)


async def test_a_function_that_ends_its_worker_is_invoked_once(launched, write):
    write("app.py", ENDING)
    process = await launched("app.py")
    async with Client(process.url) as client:
        with pytest.raises(BrokerUnavailable, match="may or may not have been done"):
            await client.invoke("ending.charge")
    await process.line(READY)
    assert process.lines.count("charged") == 1


async def test_a_worker_all_of_whose_threads_hang_is_not_ready(launched, write, http, asked, pipe):
    write("app.py", HANGING)
    process = await launched("app.py")
    status, _ = await http(f"{process.url}/hang")
    assert status == 504
    stuck = '"worker 1 hanging.hang":"all its runs hang"'
    status, _ = await asked(f"{process.admin}/readyz", lambda _, ready: stuck in ready)
    assert status == 503
    abandoned = 'eventmesh_abandoned_runs{function="hanging.hang",worker="1"} 1'
    await asked(f"{process.admin}/metrics", lambda _, metrics: abandoned in metrics)
    await process.line("hanging.hang: this process begins no more of its runs")
    assert await http(f"{process.url}/hello") == (200, '"Hello"')

    await released(pipe)
    await process.line("hanging.hang: a run that hung has ended")
    await asked(f"{process.admin}/readyz", lambda status, _: status == 200)


async def test_workers_cannot_share_the_embedded_broker(run, write):
    write("app.py", HELLO)
    ended = await run("run", "--workers=2", "app.py")
    assert ended.code == 2
    assert "2 workers cannot share the embedded broker" in ended.err
    assert "--broker amqp://" in ended.err


async def test_a_port_that_is_taken(run, write):
    write("app.py", HELLO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for option, other in (("--port", "--admin-port"), ("--admin-port", "--port")):
            ended = await run("run", f"{option}={port}", f"{other}=0", "app.py")
            assert ended.code == 2
            assert f"127.0.0.1:{port}" in ended.err


async def outcome(asking):
    """The answer, or why there is none."""
    try:
        return await asking
    except aiohttp.ClientError as error:
        return error
