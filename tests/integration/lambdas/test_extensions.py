"""Extensions of Lambda functions, and the telemetry that they get."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from processes_seen import ended, is_alive

from eventmesh import Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.errors import FunctionError, InvocationTimeout
from eventmesh.model.settings import Settings

CODE = "../../support/lambdas/python"
LAYER = "../../support/lambdas/layer"
OURS = f"python3.{sys.version_info.minor}"


@pytest.fixture
def watched():
    """The file to which the extension writes what it is told."""
    with TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        yield Path(name, "watched")


@asynccontextmanager
async def serve(watched, mode="", clock=None, **options):
    service = Service("shop")
    given = {
        "code": CODE,
        "handler": "app.handler",
        "runtime": OURS,
        "memory": "128M",
        "timeout": 60,
        "instances": 1,
        "layers": [LAYER],
        "environment": {"WATCHED": str(watched), "WATCHER": mode},
    }
    service.lambda_function("extended", **given | options)
    async with (
        MemoryBroker(clock) as broker,
        host_services([service], broker, Settings(grace=5), http=None, clock=clock) as running,
    ):
        yield running


def read(watched):
    text = watched.read_text() if watched.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


async def wait_for(watched, kind):
    """Wait until the extension was told of something of that kind, and return all of it."""
    async with asyncio.timeout(60):
        while kind not in [each[0] for each in read(watched)]:
            await asyncio.sleep(0.01)
    return read(watched)


async def test_an_extension_lives_beside_its_function(watched, patient_stop):
    async with serve(watched) as host:
        seen = await host.caller.invoke("shop.extended", {"n": 7})
        assert "layer/python" in seen["environment"]["PYTHONPATH"]
        told = await wait_for(watched, "platform.report")
        (invoked,) = [content for kind, content in told if kind == "INVOKE"]
    told = read(watched)
    kinds = [kind for kind, _ in told]
    assert told[0] == [
        "registered",
        {"functionName": "shop.extended", "functionVersion": "$LATEST", "handler": "app.handler"},
    ]
    assert [content for kind, content in told if kind == "refused"] == [400] * 4
    id = invoked["requestId"]
    assert invoked.keys() == {
        "eventType",
        "deadlineMs",
        "requestId",
        "invokedFunctionArn",
        "tracing",
    }
    assert invoked["invokedFunctionArn"].endswith(":function:shop.extended")
    platform = [kind for kind in kinds if kind.startswith("platform.")]
    # The extension subscribes beside the runtime, which may be ready before that.
    platform.remove("platform.telemetrySubscription")
    assert platform == [
        "platform.initStart",
        "platform.extension",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ]
    events = {kind: content for kind, content in told if isinstance(content, dict)}
    assert events["function"]["record"] == f"handling {id}\n"
    assert events["extension"]["record"] == "the watcher starts"
    assert events["platform.start"]["record"]["requestId"] == id
    assert events["platform.runtimeDone"]["record"]["status"] == "success"
    report = events["platform.report"]["record"]
    assert (report["requestId"], report["status"]) == (id, "success")
    assert report["metrics"]["memorySizeMB"] == 128
    assert events["SHUTDOWN"]["shutdownReason"] == "spindown"
    assert events["SHUTDOWN"]["deadlineMs"] > invoked["deadlineMs"] - 60_000


@pytest.mark.parametrize(
    ("mode", "kind", "message"),
    [
        ("die", "Extension.Crash", "watcher ended: exit code 3"),
        ("refuse", "Watcher.Config", "no configuration"),
        ("crash", "Extension.Crash", "watcher ended: exit code 4"),
    ],
)
async def test_an_extension_that_cannot_go_on_ends_the_instance(watched, mode, kind, message):
    async with serve(watched, mode) as host:
        with pytest.raises(FunctionError, match=message) as error:
            await host.caller.invoke("shop.extended", {"do": "sleep"})
        assert error.value.type == kind


async def test_several_runs_follow_each_other(watched):
    async with serve(watched) as host:
        pids = {(await host.caller.invoke("shop.extended", {}))["pid"] for _ in range(3)}
        assert len(pids) == 1
    assert [kind for kind, _ in read(watched)].count("INVOKE") == 3


async def test_an_extension_that_lingers_is_ended_at_the_timeout(watched, manual_clock):
    async with serve(watched, "linger", manual_clock, instances=2) as host:
        first = (await host.caller.invoke("shop.extended", {}))["pid"]
        told = dict(await wait_for(watched, "pid"))
        assert (await host.caller.invoke("shop.extended", {}))["pid"] != first
        assert is_alive(first)
        await manual_clock.advance(60)
        assert await ended([first, told["pid"]])
    assert "SHUTDOWN" not in [kind for kind, _ in read(watched)]


async def test_an_internal_extension(watched):
    async with serve(watched, handler="inner.handler", layers=[]) as host:
        runs = [await host.caller.invoke("shop.extended", {}) for _ in range(3)]
    assert len({run["pid"] for run in runs}) == 1
    # It is told of a run while that begins, and the next one waits until it has taken that.
    assert [run["seen"] for run in runs[1:]] in ([1, 2], [1, 3], [2, 2], [2, 3])


async def test_a_timeout_ends_extensions_too(watched, manual_clock, soon):
    async with serve(watched, clock=manual_clock) as host:
        run = asyncio.create_task(host.caller.invoke("shop.extended", {"do": "sleep"}, timeout=60))
        await wait_for(watched, "INVOKE")
        await manual_clock.advance(60)
        with pytest.raises(InvocationTimeout):
            await soon(run)
        assert (await host.caller.invoke("shop.extended", {"n": 1}))["event"] == {"n": 1}
    assert [kind for kind, _ in read(watched)].count("registered") == 2
