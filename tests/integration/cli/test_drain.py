"""One process is drained and replaced, and how often one died is told."""

import asyncio
import json
import os
import re
import signal

import aiohttp

APP = """
import asyncio, sys
from eventmesh import Service, on

service = Service("shop")

@service.function(on.get("/wait"), timeout=None)
async def wait() -> str:
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.to_thread(open, "pipe")
    return "done"
"""
READY = r"worker (\d+) \(process (\d+)\) is ready at (http://[0-9.:]+)"
ARGUMENTS = ("run", "--port=0", "--admin-port=0", "--log-format=text", "app.py")


def lists_one(ended):
    return ended.code == 0 and len(json.loads(ended.out)) == 1


async def test_one_finishes_what_runs_and_another_takes_its_place(
    launch, run, ask, write, rabbitmq, tmp_path
):
    write("app.py", APP)
    os.mkfifo(tmp_path / "pipe")
    url = await rabbitmq.new_virtual_host()
    broker = {"EVENTMESH_BROKER": url}
    process = await launch(*ARGUMENTS, **broker)
    address = (await process.line(READY))[3]
    async with aiohttp.ClientSession(address) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.get("/wait"))
        await process.line("^waiting$")
        told = await ask("ps", "--json", expect=lists_one, **broker)
        (first,) = json.loads(told.out)
        drained = await run("drain", first["id"], "--url", url)
        assert (drained.code, drained.out) == (
            0,
            f"{first['id']} takes no more work; 1 running, 0 waiting\n",
        )
        await process.line("worker 1 was told to drain: another takes its place")
        assert (await process.line(READY))[1] == "2"
        await asyncio.to_thread((tmp_path / "pipe").write_text, "")
        answer = await waiting
        assert (answer.status, await answer.text()) == (200, '"done"')
        answer.close()
    await process.line(r"worker 1 \(process \d+\) has ended")
    told = await ask("ps", "--json", expect=lists_one, **broker)
    (second,) = json.loads(told.out)
    assert (second["id"] != first["id"], second["restarts"]) == (True, 0)
    assert (await run("drain", first["id"], "--url", url)).code == 3


async def test_how_often_a_worker_died_is_told(launch, ask, write, rabbitmq):
    write("app.py", APP)
    broker = {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}
    process = await launch(*ARGUMENTS, **broker)
    admin = (await process.line(r"of all workers: (http://\S+)$"))[1]
    os.kill(int((await process.line(READY))[2]), signal.SIGKILL)
    await process.line(READY)
    await ask("ps", "--json", expect=lambda ended: '"restarts":1' in ended.out, **broker)
    async with aiohttp.ClientSession(admin) as http, http.get("/metrics") as answer:
        metrics = await answer.text()
    assert re.search(r'^eventmesh_worker_restarts_total\{worker="1"\} 1\.0$', metrics, re.MULTILINE)
