"""A service that is told to stop while its broker is away."""

import signal

import pytest
from launching import clean_environment, launched

from eventmesh.model.topology import inbox, slots_name

APP = """
import asyncio
from eventmesh import Service

service = Service("app")

@service.function(reserved_concurrency=3)
async def waits(number: int) -> None:
    print("begun", number, flush=True)

@service.function(timeout=None)
async def runs() -> None:
    print("it runs", flush=True)
    await asyncio.Event().wait()
"""
READY = r"is ready at (http://[0-9.:]+)"
GRACE = {"waits": 60, "runs": 3}
"""Seconds: for what ends by itself more than a busy machine takes for it."""


@pytest.mark.disruptive
@pytest.mark.parametrize("what", ["waits", "runs"])
async def test_it_ends_within_its_time(rabbitmq, broker_at, mesh_of, soon, tmp_path, what):
    url = await rabbitmq.new_virtual_host()
    (tmp_path / "app.py").write_text(APP)
    async with (
        broker_at(url) as broker,
        broker.slots(slots_name("app.waits"), 3) as slots,
        launched(
            *("run", "--port=0", "--admin-port=0", f"--grace={GRACE[what]}", "--log-format=text"),
            "app.py",
            cwd=tmp_path,
            environment=clean_environment() | {"EVENTMESH_BROKER": url},
        ) as process,
    ):
        await process.line(READY)
        mesh = mesh_of(broker)
        if what == "waits":
            for _ in range(3):
                await soon(slots.acquire())
            for number in range(6):
                await mesh.send("app.waits", {"number": number})
            await soon(taken(broker))
        else:
            await mesh.send("app.runs")
            await process.line("it runs")

        await rabbitmq.stop()
        await process.line("trying again until it works")
        process.kill(signal.SIGTERM)

        assert await process.code() == 0
        ended = [line for line in process.lines if "killed" in line or "begun" in line]
        assert ended == []
        over = f"the grace time of {GRACE[what]} s is over"
        assert (over in "\n".join(process.lines)) == (what == "runs")
        await rabbitmq.start()


async def taken(broker):
    """Wait until the process has taken as many as it may run."""
    while await broker.depth(inbox("app.waits")) != 3:
        pass
