"""Responses that a runtime streams, as streams: to HTTP clients, and to boto3."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import boto3
import pytest
from aiohttp import ClientPayloadError, ClientSession
from botocore.config import Config
from waiting import DEADLINE

from eventmesh import Retry, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.lambdas import streams
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.settings import Settings

ROUTES = [on.get(f"/{name}") for name in ("page", "count", "fail", "nonsense", "empty", "events")]


@pytest.fixture
def gate():
    """A file that is not there yet, where the user of an instance sees it."""
    with TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "gate")


@asynccontextmanager
async def serve(node_code, clock=None):
    service = Service("shop")
    service.lambda_function(
        "node",
        code=node_code,
        handler="streaming.handler",
        runtime="nodejs20.x",
        memory="512M",
        timeout=60,
        triggers=[on.get("/node")],
    )
    service.lambda_function(
        "stream",
        code="../../support/lambdas/stream",
        handler="x",
        runtime="provided",
        instances=1,
        timeout=60,
        retry=Retry(attempts=1),
        triggers=ROUTES,
    )
    service.lambda_function(
        "brief",
        code="../../support/lambdas/stream",
        handler="x",
        runtime="provided",
        instances=1,
        timeout=4,
    )

    @service.function
    async def items():
        yield {"n": 1}
        yield {"n": 2}

    @service.function
    async def whole() -> dict[str, int]:
        return {"n": 3}

    settings = Settings(http_port=0, grace=5)
    async with (
        MemoryBroker(clock) as broker,
        host_services([service], broker, settings, http=serve_functions, clock=clock) as running,
    ):
        yield running


@pytest.fixture
async def host(node_code):
    async with serve(node_code) as running:
        yield running


@pytest.fixture
def client(host):
    return connect(host)


def connect(host):
    return boto3.client(
        "lambda",
        endpoint_url=host.addresses["http"],
        region_name="eu-central-1",
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"total_max_attempts": 1}, read_timeout=300),
    )


async def stream(client, name="shop.stream", **event):
    """Return the parts of a response, and how it ended."""

    def call():
        answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event))
        assert answer["StatusCode"] == 200
        events = list(answer["EventStream"])
        parts = [each["PayloadChunk"]["Payload"] for each in events if "PayloadChunk" in each]
        assert [list(each) for each in events[len(parts) :]] == [["InvokeComplete"]]
        return parts, events[-1]["InvokeComplete"]

    return await asyncio.to_thread(call)


async def begin(client, name="shop.stream", **event):
    """Return the first part of a response, and what has the rest of it."""
    call = partial(
        client.invoke_with_response_stream,
        FunctionName=name,
        Payload=json.dumps(event),
        LogType="Tail",
    )
    answer = await asyncio.to_thread(call)
    events = iter(answer["EventStream"])
    first = await asyncio.to_thread(next, events)
    return first["PayloadChunk"]["Payload"], events


@pytest.mark.parametrize(("path", "cookies"), [("/page", ["a=1", "b=2"]), ("/node", [])])
async def test_a_page_comes_while_it_is_made(host, gate, path, cookies):
    async with (
        ClientSession(host.addresses["http"]) as http,
        http.get(path, params={"file": str(gate)}) as response,
    ):
        assert response.status == 201
        assert response.content_type == "text/plain"
        assert response.headers["X-Own"] == "1"
        assert response.headers.getall("Set-Cookie", []) == cookies
        assert await response.content.readany() == b"one "
        gate.touch()
        assert await response.content.read() == b"two"


async def test_without_a_prelude_it_is_a_200(host):
    async with ClientSession(host.addresses["http"]) as http:
        async with http.get("/count") as response:
            assert (response.status, response.content_type) == (200, "text/plain")
            assert await response.read() == b"one two"
        async with http.get("/events") as response:
            assert response.content_type == "text/event-stream"
        async with http.get("/empty") as response:
            assert (response.status, await response.read()) == (204, b"")


async def test_an_error_in_the_middle_breaks_the_response_off(host):
    async with ClientSession(host.addresses["http"]) as http:
        async with http.get("/fail") as response:
            assert response.status == 200
            with pytest.raises(ClientPayloadError):
                await response.read()
        async with http.get("/count") as response:
            assert await response.read() == b"one two", "the instance goes on"


async def test_a_prelude_that_describes_nothing(host):
    async with (
        ClientSession(host.addresses["http"]) as http,
        http.get("/nonsense") as response,
    ):
        assert response.status == 500


async def test_boto3_gets_the_parts_while_they_are_made(client, gate):
    first, events = await begin(client, file=str(gate))
    assert first == b"one "
    gate.touch()
    rest = await asyncio.to_thread(list, events)
    assert rest[0]["PayloadChunk"]["Payload"] == b"two"
    log = base64.b64decode(rest[1]["InvokeComplete"].pop("LogResult")).decode().splitlines()
    assert log[0].startswith("START RequestId: ")
    assert log[1].startswith("streaming for ")
    assert log[-1].startswith("REPORT RequestId: ")
    assert rest[1] == {"InvokeComplete": {}}


async def test_boto3_gets_the_parts_of_a_function_in_node(client, gate):
    first, events = await begin(client, "shop.node", file=str(gate))
    assert first == b"one "
    gate.touch()
    parts, end = await asyncio.to_thread(list, events)
    assert parts["PayloadChunk"]["Payload"] == b"two"
    assert "ErrorCode" not in end["InvokeComplete"]


async def test_boto3_is_told_of_an_error_in_the_middle(client):
    parts, end = await stream(client, do="fail")
    assert b"".join(parts) == b"one "
    assert end["ErrorCode"] == "Unhandled"
    details = json.loads(end["ErrorDetails"])
    assert details["errorType"] == "Own.Error"
    assert details["errorMessage"] == "broke in the middle"


async def test_boto3_is_told_of_a_process_that_ends_in_the_middle(client, gate, monkeypatch):
    # On a busy machine its end may be known long after that of its connection.
    monkeypatch.setattr(streams, "EXIT_TIMEOUT", DEADLINE)
    first, events = await begin(client, do="exit", file=str(gate))
    assert first == b"one "
    gate.touch()
    (end,) = await asyncio.to_thread(list, events)
    details = json.loads(end["InvokeComplete"]["ErrorDetails"])
    assert details["errorType"] == "Runtime.ExitError"
    assert details["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert b"".join((await stream(client))[0]) == b"one two", "another instance goes on"


async def test_the_timeout_ends_a_stream(node_code, manual_clock, soon):
    async with serve(node_code, manual_clock) as host:
        first, events = await soon(begin(connect(host), "shop.brief", do="sleep"))
        assert first == b"one "
        await manual_clock.advance(4)
        (end,) = await soon(asyncio.to_thread(list, events))
    details = json.loads(end["InvokeComplete"]["ErrorDetails"])
    assert details["errorType"] == "Sandbox.Timedout"
    assert details["errorMessage"].endswith("Error: Task timed out after 4.00 seconds")


async def test_what_is_not_read_makes_the_runtime_wait(client):
    parts = 800  # 50 MiB: more than all buffers on the way hold.
    chunks, end = await stream(client, do="flood", parts=parts)
    assert sum(map(len, chunks)) == parts * 65536 + len("one two")
    assert end == {}


async def test_who_invokes_it_without_a_stream_gets_it_whole(host, client):
    call = partial(client.invoke, FunctionName="shop.stream", Payload=b"{}")
    answer = await asyncio.to_thread(call)
    assert answer["Payload"].read() == b"one two"
    with pytest.raises(PayloadTooLarge):
        await host.caller.invoke("shop.stream", {"do": "flood", "parts": 100})


async def test_functions_of_our_own(client):
    assert await stream(client, "shop.items") == ([b'{"n":1}\n', b'{"n":2}\n'], {})
    assert await stream(client, "shop.whole") == ([b'{"n":3}'], {})


async def test_what_cannot_be_streamed(client):
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        await stream(client, "shop.missing")
    with pytest.raises(client.exceptions.InvalidParameterValueException, match="type 'Event' here"):
        await asyncio.to_thread(
            partial(
                client.invoke_with_response_stream,
                FunctionName="shop.stream",
                InvocationType="Event",
                Payload=b"{}",
            )
        )
