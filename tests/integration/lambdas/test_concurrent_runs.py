"""awslambdaric's concurrent mode: several runs at once in one instance; and logs as JSON."""

import asyncio
import json
import logging
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from eventmesh import Retry, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.lambdas import instance
from eventmesh.lambdas.owner import is_running
from eventmesh.model.errors import FunctionError, Throttled
from eventmesh.model.settings import Settings

CODE = "../../support/lambdas/python"
OURS = f"python3.{sys.version_info.minor}"


@pytest.fixture
def folder():
    """A folder that the users of instances may write to."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield name


@pytest.fixture
async def host():
    service = Service("shop")
    service.lambda_function(
        "meeting",
        code=CODE,
        handler="meeting.handler",
        runtime=OURS,
        memory="256M",
        timeout=60,
        concurrency=3,
        instances=1,
        retry=Retry(attempts=1),
        log_format="JSON",
        log_level="INFO",
    )
    service.lambda_function(
        "broken",
        code=CODE,
        handler="nothing.handler",
        runtime=OURS,
        concurrency=3,
        instances=1,
        timeout=60,
    )
    async with (
        MemoryBroker() as broker,
        host_services([service], broker, Settings(grace=5), http=None) as running,
    ):
        yield running


def holds_any(folder):
    return any(list(Path(folder).iterdir()))


async def test_runs_meet_in_one_instance(host, folder, caplog):
    caplog.set_level(logging.INFO)
    names = ["a", "b", "c"]
    pids = await asyncio.gather(
        *(
            host.caller.invoke("shop.meeting", {"name": name, "folder": folder, "count": 3})
            for name in names
        )
    )
    assert len(set(pids)) == 3, "each in a worker process of its own"
    own = [r for r in caplog.records if r.name == "eventmesh.function.shop.meeting"]
    lines = [(json.loads(record.getMessage()), record) for record in own]
    met = {line["message"]: record for line, record in lines if "logger" in line}
    assert met.keys() == {"met a", "met b", "met c"}
    assert len({record.invocation_id for record in met.values()}) == 3
    assert {record.levelno for record in met.values()} == {logging.WARNING}
    told = {"platform.start": [], "platform.report": []}
    for line, _ in lines:
        told.get(line.get("type"), []).append(line.get("record"))
    started = [each["requestId"] for each in told["platform.start"]]
    assert sorted(started) == sorted(record.invocation_id for record in met.values())
    reports = told["platform.report"]
    assert sorted(each["requestId"] for each in reports) == sorted(started)
    assert {each["status"] for each in reports} == {"success"}
    assert all(each["metrics"]["memorySizeMB"] == 256 for each in reports)


@pytest.mark.parametrize("late", [0, 2])
async def test_a_worker_that_ends_ends_its_instance(host, folder, monkeypatch, late):
    """On a busy machine it ends late: it is still there when it is looked for at first."""
    running = iter([True] * late)
    monkeypatch.setattr(instance, "is_running", lambda pid: next(running, False) or is_running(pid))
    meeting = asyncio.create_task(
        host.caller.invoke("shop.meeting", {"name": "a", "folder": folder, "count": 2})
    )
    async with asyncio.timeout(60):
        while not holds_any(folder):
            await asyncio.sleep(0.005)
    with pytest.raises(FunctionError, match="Runtime exited without providing") as error:
        await host.caller.invoke("shop.meeting", {"name": "end"})
    assert error.value.type == "Runtime.ExitError"
    with pytest.raises(Throttled, match="because of another run"):
        await meeting
    assert await host.caller.invoke("shop.meeting", {"name": "b", "folder": folder, "count": 2})


async def test_what_no_worker_can_import(host):
    with pytest.raises(FunctionError, match="No module named 'nothing'") as error:
        await host.caller.invoke("shop.broken", {})
    assert error.value.type == "Runtime.ImportModuleError"
