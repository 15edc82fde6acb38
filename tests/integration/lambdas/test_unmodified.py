"""Functions as people have them for AWS, called by the clients that people have for AWS."""

import asyncio
import base64
import json
import sys

import pytest
from aiohttp import ClientSession
from lambda_clients import Lambda, aws_invoke

from eventmesh import Context, Retry, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters

OURS = f"python3.{sys.version_info.minor}"
CODE = "../../support/lambdas"
RECORDS = []
"""Of invocations that have ended, as destinations get them."""
EVENT = {"n": 7}


@pytest.fixture
def app(python_packages, node_code):
    RECORDS.clear()
    service = Service("shop")

    @service.function
    async def ended(record: dict, ctx: Context) -> None:
        RECORDS.append(record)

    each = {
        "timeout": 60,
        "instances": 1,
        "retry": Retry(attempts=2, initial=0.1),
        "on_success": ended,
        "on_failure": ended,
    }
    python = {"runtime": OURS, "environment": {"PYTHONPATH": str(python_packages)}, **each}
    service.lambda_function(
        "powertools",
        code=f"{CODE}/powertools",
        handler="app.handler",
        memory="256M",
        triggers=[
            on.get("/orders/{number}"),
            on.post("/orders"),
            on.queue("orders", batch=3, batch_window=0.2),
        ],
        **python,
    )
    service.lambda_function(
        "fastapi",
        code=f"{CODE}/fastapi",
        handler="app.handler",
        memory="256M",
        triggers=[on.any("/{path:path}")],
        **python,
    )
    service.lambda_function(
        "node",
        code=node_code,
        handler="index.handler",
        runtime="nodejs20.x",
        memory="512M",
        triggers=[on.post("/node"), on.queue("nodes", batch=3, batch_window=0.2)],
        **each,
    )
    service.lambda_function("bash", code=f"{CODE}/bash", handler="x", runtime="provided", **each)
    return service


@pytest.fixture
async def broker():
    async with MemoryBroker() as opened:
        yield opened


@pytest.fixture
async def url(app, broker):
    async with host_services([app], broker, Settings(http_port=0, grace=5)) as host:
        yield host.addresses["http"]


@pytest.fixture
async def http(url):
    async with ClientSession(url) as session:
        yield session


def expect(function, answer, id):
    """Check what a function answers to EVENT."""
    if function == "node":
        assert answer["event"] == EVENT
        assert (answer["name"], answer["memory"]) == ("shop.node", "512")
        assert answer["arn"] == "arn:aws:lambda:xx-mesh-1:000000000000:function:shop.node"
        assert 0 < answer["left"] <= 60_000
    elif function == "bash":
        assert answer == {"bash": EVENT}
    else:
        assert answer["echo"] == EVENT
        assert answer["id"] == id or id is None


@pytest.mark.parametrize("function", ["powertools", "node", "bash"])
async def test_by_boto3_and_the_command_of_aws(url, tmp_path, function):
    answer = await Lambda(url).invoke(f"shop.{function}", json.dumps(EVENT).encode())
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    expect(function, json.loads(answer["Payload"]), answer["ResponseMetadata"]["RequestId"])
    printed, written = await aws_invoke(
        url, tmp_path, f"shop.{function}", EVENT, "--log-type", "Tail"
    )
    assert printed["StatusCode"] == 200
    assert "FunctionError" not in printed
    assert "START RequestId: " in base64.b64decode(printed["LogResult"]).decode()
    expect(function, json.loads(written), None)


@pytest.mark.parametrize("function", ["powertools", "node", "bash"])
async def test_asynchronously_with_a_record_of_its_success(url, tmp_path, function):
    answer = await Lambda(url).invoke(
        f"shop.{function}", json.dumps(EVENT).encode(), InvocationType="Event"
    )
    assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
    printed, written = await aws_invoke(
        url, tmp_path, f"shop.{function}", EVENT, "--invocation-type", "Event"
    )
    assert (printed, written) == ({"StatusCode": 202}, b"")
    records = await wait_for(2)
    assert answer["ResponseMetadata"]["RequestId"] in [each["id"] for each in records]
    for record in records:
        expect(function, record["result"], record["id"])


async def wait_for(count):
    async with asyncio.timeout(60):
        while len(RECORDS) < count:
            await asyncio.sleep(0.01)
    return RECORDS


async def test_one_that_fails_is_retried_and_becomes_a_dead_letter(url, broker):
    await Lambda(url).invoke("shop.node", b'{"do": "fail"}', InvocationType="Event")
    [record] = await wait_for(1)
    assert (record["error"]["type"], record["attempts"]) == ("RangeError", 2)
    async with asyncio.timeout(60):
        while await broker.depth(dead_letters("shop.node")) < 1:
            await asyncio.sleep(0.01)
    assert await broker.depth(dead_letters("shop.node")) == 1


async def test_an_exception_in_node_is_a_function_error(url):
    answer = await Lambda(url).invoke("shop.node", b'{"do": "fail"}')
    error = json.loads(answer["Payload"])
    assert answer["FunctionError"] == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("RangeError", "too far")
    assert any("index.js" in line for line in error["trace"])


async def test_an_instance_in_node_is_kept(url):
    aws = Lambda(url)
    for number in (1, 2, 3):
        assert json.loads((await aws.invoke("shop.node", b"{}"))["Payload"])["calls"] == number


async def test_the_event_handler_of_powertools(http):
    async with http.get("/orders/7?size=1") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        assert await response.json() == {"number": "7", "query": {"size": "1"}}
    async with http.get("/orders/0") as response:
        assert response.status == 404
        assert (await response.json())["message"] == "no such order"
    async with http.post("/orders", json={"sku": "tea"}) as response:
        assert response.status == 201
        assert (await response.json())["added"] == {"sku": "tea"}


async def test_the_logger_of_powertools(url, caplog):
    caplog.set_level("INFO")
    answer = await Lambda(url).invoke("shop.powertools", b"{}")
    id = answer["ResponseMetadata"]["RequestId"]
    [line] = [r for r in caplog.records if '"message":"invoked"' in r.getMessage()]
    logged = json.loads(line.getMessage())
    assert (logged["function_request_id"], logged["cold_start"]) == (id, True)
    assert logged["function_memory_size"] == "256"
    assert line.invocation_id == id


@pytest.mark.parametrize(("queue", "function"), [("orders", "powertools"), ("nodes", "node")])
async def test_failed_items_of_a_batch_come_back(url, broker, queue, function):
    async with host_services([Service("sender")], broker, Settings(), http=None) as sender:
        for item in ("good", "bad", "better"):
            await sender.caller.send(f"queue:{queue}", item)
        async with asyncio.timeout(60):
            while await broker.depth(dead_letters(f"shop.{function}")) < 1:
                await asyncio.sleep(0.01)
    assert await broker.depth(dead_letters(f"shop.{function}")) == 1
    letter = await broker.get(dead_letters(f"shop.{function}"))
    assert json.loads(letter.message.body) == "bad"


async def test_fastapi_by_mangum(http):
    async with http.get("/items/7?verbose=1", headers={"Cookie": "tea=green"}) as response:
        assert response.status == 200
        assert await response.json() == {"item": 7, "verbose": True, "tea": "green"}
    async with http.get("/items/0") as response:
        assert (response.status, await response.json()) == (404, {"detail": "no such item"})
    async with http.get("/items/x") as response:
        assert response.status == 422
    async with http.delete("/items/7") as response:
        assert (response.status, await response.json()) == (405, {"detail": "Method Not Allowed"})
    async with http.get("/nowhere/at/all") as response:
        assert (response.status, await response.json()) == (404, {"detail": "Not Found"})
    async with http.post("/items", json={"name": "tea", "price": 2.5}) as response:
        assert (response.status, await response.json()) == (201, {"name": "tea", "price": 2.5})
        assert response.cookies["last"].value == "tea"
    data = bytes(range(256))
    async with http.put(
        "/items/1", data=data, headers={"Content-Type": "application/octet-stream"}
    ) as response:
        assert response.content_type == "image/png"
        assert await response.read() == data[::-1]


async def test_node_behind_a_route(http):
    async with http.post("/node", data="text", headers={"Content-Type": "text/plain"}) as response:
        assert (response.status, await response.text()) == (201, "text")
        assert response.headers["X-Path"] == "/node"
