"""Unmodified Lambda functions, with AWS's own client in Python and with bash, in a service."""

import asyncio
import json
import logging
import os
import re
import sys
from contextlib import suppress

import pytest
from aiohttp import ClientSession
from processes_seen import ended

from eventmesh import Retry, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.errors import (
    DeclarationError,
    FunctionError,
    InvocationTimeout,
    PayloadTooLarge,
)
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters

CODE = "../../support/lambdas/python"
OURS = f"python3.{sys.version_info.minor}"


@pytest.fixture
def app():
    service = Service("shop")
    service.lambda_function(
        "thumbs",
        code=CODE,
        handler="app.handler",
        runtime=OURS,
        memory="96M",
        timeout=60,
        instances=2,
        retry=Retry(attempts=1),
        environment={"OWN": "value"},
        triggers=[on.post("/thumbs/{name}"), on.queue("pictures", batch=3, batch_window=0.1)],
    )
    service.lambda_function(
        "quick", code=CODE, handler="app.handler", runtime=OURS, timeout=4, instances=1
    )
    service.lambda_function(
        "other", code=CODE, handler="app.handler", runtime=OURS, timeout=60, instances=1
    )
    service.lambda_function(
        "shell",
        code="../../support/lambdas/bash",
        handler="x",
        runtime="provided",
        instances=1,
        timeout=60,
    )
    service.lambda_function(
        "missing", code=CODE, handler="nothing.handler", runtime=OURS, instances=1, timeout=60
    )
    return service


@pytest.fixture
async def broker():
    async with MemoryBroker() as opened:
        yield opened


@pytest.fixture
async def host(app, broker):
    settings = Settings(http_port=0, grace=5)
    async with host_services([app], broker, settings, http=serve_functions) as running:
        yield running


async def invoke(host, name="shop.thumbs", **event):
    return await host.caller.invoke(name, event)


async def test_it_gets_what_aws_gives(host, monkeypatch):
    monkeypatch.setenv("EVENTMESH_BROKER", "amqp://user:secret@broker")
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "x")
    seen = await invoke(host, n=7)
    assert seen["event"] == {"n": 7}
    assert seen["name"] == "shop.thumbs"
    assert seen["arn"] == "arn:aws:lambda:xx-mesh-1:000000000000:function:shop.thumbs"
    assert seen["memory"] == "96"
    assert 0 < seen["left"] <= 60_000
    environment = seen["environment"]
    assert environment["OWN"] == "value"
    assert environment["LAMBDA_TASK_ROOT"] == seen["folder"]
    assert not [name for name in environment if "SECRET" in name or "EVENTMESH" in name]
    again = await invoke(host)
    assert again["pid"] == seen["pid"] != os.getpid()


@pytest.mark.parametrize("event", [7, "text", [1, 2], None, True])
async def test_an_event_is_any_json(host, event):
    assert await host.caller.invoke("shop.thumbs", event) == event


async def test_bash_with_curl(host):
    for number in (1, 2):
        assert await invoke(host, "shop.shell", n=number) == {"bash": {"n": number}}


async def test_an_exception_is_the_error_it_was(host):
    with pytest.raises(FunctionError, match="nothing of that name") as error:
        await invoke(host, do="fail")
    assert error.value.type == "KeyError"
    assert "app.py" in error.value.traceback
    assert (await invoke(host))["name"] == "shop.thumbs", "the instance goes on"


async def test_a_timeout_ends_the_process(app, manual_clock, caplog, until, soon):
    caplog.set_level(logging.INFO)
    settings = Settings(http_port=0, grace=5)
    async with (
        MemoryBroker(manual_clock) as broker,
        host_services([app], broker, settings, http=None, clock=manual_clock) as host,
    ):
        pid = (await soon(invoke(host, "shop.quick")))["pid"]
        sleeps = asyncio.create_task(invoke(host, "shop.quick", do="sleep"))
        await until(lambda: caplog.text.count("handling ") == 2)
        await manual_clock.advance(4)
        with pytest.raises(InvocationTimeout, match="timeout of 4 s"):
            await soon(sleeps)
        assert await ended([pid])
        assert (await soon(invoke(host, "shop.quick")))["pid"] != pid


@pytest.mark.parametrize(
    ("do", "kind"), [("end", "Runtime.ExitError"), ("eat", "Runtime.OutOfMemory")]
)
async def test_a_process_that_ends(host, do, kind):
    with pytest.raises(FunctionError) as error:
        await invoke(host, do=do)
    assert error.value.type == kind


async def test_a_result_that_is_too_large(host):
    assert len(await invoke(host, do="grow", size=6 * 2**20 - 10)) == 6 * 2**20 - 10
    with pytest.raises(PayloadTooLarge):
        await invoke(host, do="grow", size=6 * 2**20)
    assert (await invoke(host))["name"] == "shop.thumbs"


async def test_what_cannot_be_imported_says_so(host):
    with pytest.raises(FunctionError, match="No module named 'nothing'") as error:
        await invoke(host, "shop.missing")
    assert error.value.type == "Runtime.ImportModuleError"


async def test_its_route(host):
    async with (
        ClientSession(host.addresses["http"]) as http,
        http.post(
            "/thumbs/a%20b?size=1", data=b"text", headers={"Content-Type": "text/plain"}
        ) as response,
    ):
        assert response.status == 201
        assert response.headers["X-Path"] == "/thumbs/a%20b"
        assert response.content_type == "text/plain"
        assert response.headers.getall("Set-Cookie") == ["a=1", "b=2"]
        assert await response.text() == "POST text"


async def test_failed_items_of_a_batch_come_back(host, broker):
    for item in ("good", "bad", "better"):
        await host.caller.send("queue:pictures", item)
    async with asyncio.timeout(60):
        while await broker.depth(dead_letters("shop.thumbs")) < 1:
            await asyncio.sleep(0.01)
    letter = await broker.get(dead_letters("shop.thumbs"))
    assert json.loads(letter.message.body) == "bad"


async def test_its_log_has_the_lines_of_aws(host, caplog):
    caplog.set_level(logging.INFO)
    await invoke(host)
    await invoke(host)
    lines = [r.getMessage() for r in caplog.records if r.name == "eventmesh.function.shop.thumbs"]
    text = "\n".join(lines)
    assert re.search(r"START RequestId: \w{32} Version: \$LATEST\n", text)
    assert re.search(
        r"REPORT RequestId: \w{32}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
        r"Memory Size: 96 MB\tMax Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t",
        text,
    )
    own = [r for r in caplog.records if r.getMessage().startswith("handling ")]
    assert own[0].getMessage() == f"handling {own[0].invocation_id}"


async def test_an_instance_that_is_no_longer_needed_ends_without_a_warning(app, broker, caplog):
    caplog.set_level(logging.INFO)
    async with host_services([app], broker, Settings(http_port=0), http=None) as host:
        await invoke(host)
    [record] = [each for each in caplog.records if "ended with signal SIGKILL" in each.getMessage()]
    assert record.levelno == logging.INFO


async def test_no_other_process_may_use_its_api(host, caplog):
    address = (await invoke(host))["environment"]["AWS_LAMBDA_RUNTIME_API"]
    reader, writer = await asyncio.open_connection(*address.split(":"))
    with suppress(ConnectionError):
        writer.write(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await reader.read() == b""
    writer.close()
    seen = await invoke(host, "shop.shell", n=1)
    assert seen
    assert await invoke(host, "shop.other", do="intrude", address=address) != 200
    assert "refused" in caplog.text
    assert (await invoke(host, n=3))["event"] == {"n": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "not/there"}, "there is no folder"),
        ({"handler": ""}, "write 'file.function'"),
        ({"runtime": "cobol"}, "there is no runtime 'cobol'"),
        ({"environment": {"AWS_LAMBDA_RUNTIME_API": "x"}}, "is set by the runtime"),
        ({"environment": {"1": "x"}}, "names and values are texts"),
        ({"environment": {"A": "x" * 5000}}, "4,096 at most"),
        ({"concurrency": 0}, "1 or more"),
        ({"log_format": "XML"}, "write 'Text' or 'JSON'"),
        ({"log_level": "LOUD"}, "there are TRACE, DEBUG"),
        ({"isolation": "process"}, "no option 'isolation'"),
        ({"memory": "tiny"}, "is no size"),
    ],
)
def test_a_declaration_that_cannot_be(change, message):
    good = {"code": CODE, "handler": "app.handler", "runtime": OURS}
    with pytest.raises(DeclarationError, match=message):
        Service("shop").lambda_function("thumbs", **good | change)


@pytest.mark.parametrize(
    ("runtime", "message"),
    [("python3.1", "no python3.1"), ("nodejs1.x", "aws-lambda-ric"), ("provided", "no program")],
)
async def test_what_is_not_installed_is_said_at_the_start(broker, runtime, message):
    service = Service("shop")
    service.lambda_function("f", code=CODE, handler="app.handler", runtime=runtime)
    with pytest.raises(DeclarationError, match=message):
        async with host_services([service], broker, Settings(http_port=0), http=None):
            pass
