import asyncio
import json
import os
import re
import signal

import aiohttp

APP = """
import asyncio, sys
from eventmesh import Service, on

service = Service("shop", version="1.4")

@service.function(on.get("/wait"), timeout=None)
async def wait() -> None:
    print("waiting", file=sys.stderr, flush=True)
    await asyncio.to_thread(open, "pipe")

@service.function
async def sell() -> None: ...
"""
READY = r"is ready at (http://[0-9.:]+)"
WAITING = re.compile(r"│ shop\.wait +│ GET /wait +│ 1\.4 +│ 2 +│ 1 +│ 0 +│")


def counts(number):
    """Whether a command has listed so many."""
    return lambda ended: ended.code == 0 and len(json.loads(ended.out)) == number


async def test_processes_and_what_they_serve(launch, run, ask, write, rabbitmq, tmp_path):
    write("app.py", APP)
    os.mkfifo(tmp_path / "pipe")
    broker = {"EVENTMESH_BROKER": await rabbitmq.new_virtual_host()}
    arguments = ("--port=0", "--admin-port=0", "app.py")
    process = await launch("run", "--workers=2", *arguments, **broker)
    url = (await process.line(READY))[1]
    await process.line(READY)

    async with aiohttp.ClientSession(url) as http, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(http.get("/wait"))
        await process.line("^waiting$")
        told = await ask("ps", "--json", expect=counts(2), **broker)
        instances = json.loads(told.out)
        table = await ask(
            *("ps", "--broker", broker["EVENTMESH_BROKER"]),
            expect=lambda ended: WAITING.search(ended.out),
        )
        runs = json.loads((await ask("ps", "--running", "--json", expect=counts(1), **broker)).out)
        shown = await ask("show", runs[0]["id"], expect=lambda ended: ended.code == 0, **broker)
        unknown = await ask("show", "no-such-id", expect=lambda ended: ended.code == 3, **broker)
        await asyncio.to_thread((tmp_path / "pipe").write_text, "")
        (await waiting).close()
        ended = await ask("show", runs[0]["id"], expect=lambda ended: ended.code == 0, **broker)
        top = json.loads((await ask("top", "--json", expect=counts(1), **broker)).out)

    assert len({one["id"] for one in instances}) == 2
    assert all(one["services"] == {"shop": "1.4"} for one in instances)
    assert sum(one["running"]["shop.wait"] for one in instances) == 1
    assert re.search(r"│ shop\.sell +│ by name only +│ 1\.4 +│ 2 +│ 0 +│ 0 +│", table.out)

    (going,) = runs
    assert (going["function"], going["attempt"], going["trigger"]) == ("shop.wait", 1, "http")
    assert going["instance"] in {one["id"] for one in instances}
    assert f"{going['id']}: running" in shown.out
    assert "no-such-id: unknown" in unknown.out
    assert f"{going['id']}: succeeded" in ended.out
    assert [(row["function"], row["ended"], row["failed"]) for row in top] == [("shop.wait", 1, 0)]

    process.kill(signal.SIGTERM)
    assert await process.code() == 0
    assert (await run("ps", **broker)).out == "No process answers.\n"


async def test_watching_goes_on_until_it_is_interrupted(launch, write, rabbitmq):
    watching = await launch("ps", "--watch", EVENTMESH_BROKER=await rabbitmq.new_virtual_host())
    await watching.line("No process answers")
    watching.press_ctrl_c()
    assert await watching.code() == 0


async def test_the_embedded_broker_has_nobody_to_ask(run):
    ended = await run("ps")
    assert ended.code == 2
    assert "--broker amqp://" in ended.err
