"""JSON that is small on the wire and large in memory, by every way in which it can come."""

import asyncio
from io import BytesIO

import boto3
import pytest
from botocore.exceptions import ClientError
from pydantic import BaseModel
from waiting import DEADLINE, PAUSE

from eventmesh import Response, Service, on
from eventmesh.http.protocol import CONTROL, LAMBDA
from eventmesh.model.topology import dead_letters, inbox

BOMB = b"[" + b"[]," * 250_000 + b"[]]"
OBJECTS = b'{"lines":[' + b'{"":0},' * 250_000 + b"{}]}"
JSON = {"Content-Type": "application/json"}


class Order(BaseModel):
    lines: list[dict[str, int]]


@pytest.fixture
def shop():
    service = Service("shop")

    @service.function(on.post("/orders"))
    async def order(order: Order) -> None: ...

    @service.function(on.post("/later", mode="async"))
    async def later(order: Order) -> None: ...

    @service.function(on.post("/free"))
    async def free(body: dict) -> None: ...

    @service.function(on.post("/many"), max_nodes=2_000_000)
    async def many(order: Order) -> int:
        return len(order.lines)

    @service.function(on.post("/raw"))
    async def raw(body: bytes) -> int:
        return len(body)

    @service.function(on.event("shop.opened"))
    async def opened(lines: list) -> None: ...

    @service.function(on.queue("jobs", batch=2))
    async def batched(orders: list[Order]) -> None: ...

    @service.function
    async def bare() -> Response:
        return Response(BOMB)

    return service


@pytest.mark.parametrize("path", ["/orders", "/later", "/free"])
@pytest.mark.parametrize("bomb", [BOMB, OBJECTS], ids=["lists", "objects"])
async def test_a_route_refuses_it(serving, shop, path, bomb):
    async with serving(shop) as served:
        async with served.http.post(path, data=BytesIO(bomb), headers=JSON) as answer:
            assert answer.status == 413
            problem = await answer.json(content_type=None)
        assert problem["limit"] == 200_000
        assert "200,000 JSON values at the most (max_nodes)" in problem["detail"]


async def test_who_wants_more_gets_more(serving, shop):
    async with serving(shop) as served:
        async with served.http.post("/many", data=BytesIO(OBJECTS), headers=JSON) as answer:
            assert await answer.json() == 250_001
        async with served.http.post("/raw", data=BytesIO(BOMB)) as answer:
            assert await answer.json() == len(BOMB)


@pytest.mark.parametrize("name", ["shop.order", "shop.bare"])
@pytest.mark.parametrize("kind", ["RequestResponse", "Event", "DryRun"])
async def test_an_invocation_by_name_refuses_it(serving, shop, name, kind):
    if (name, kind) == ("shop.order", "DryRun"):
        kind = "Event"
    headers = {"X-Amz-Invocation-Type": kind}
    async with serving(shop) as served:
        path = f"{LAMBDA}/{name}/invocations"
        async with served.http.post(path, data=BytesIO(BOMB), headers=headers) as answer:
            assert answer.status == 413
            assert answer.headers["x-amzn-ErrorType"] == "RequestTooLargeException"


async def test_an_event_refuses_it(serving, shop):
    event = b'{"specversion":"1.0","id":"1","source":"/x","type":"shop.opened","data":%b}' % BOMB
    headers = {"Content-Type": "application/cloudevents+json"}
    async with (
        serving(shop) as served,
        served.http.post(f"{CONTROL}/events", data=BytesIO(event), headers=headers) as answer,
    ):
        assert answer.status == 413


@pytest.mark.parametrize("function", ["shop.order", "shop.opened"])
async def test_a_stored_one_is_a_dead_letter_at_once(serving, shop, function):
    async with serving(shop) as served:
        await served.host.caller.send(function, BOMB)
        async with asyncio.timeout(DEADLINE):
            while not await served.broker.depth(dead_letters(function)):
                await asyncio.sleep(PAUSE)
        assert not await served.broker.depth(inbox(function))
        path = f"{CONTROL}/dead-letters/{function}"
        async with served.http.get(path) as answer:
            (letter,) = (await answer.json())["dead_letters"]
        assert letter["error_type"] == "payload_too_large"
        assert letter["attempts"] == 1
        # It is not parsed to be shown, either.
        assert "payload" not in letter
        assert letter["payload_base64"]


async def test_an_item_of_a_batch_is_a_dead_letter_alone(serving, shop):
    async with serving(shop) as served:
        for body in (b'{"lines":[]}', BOMB):
            await served.host.caller.send("queue:jobs", body)
        async with asyncio.timeout(DEADLINE):
            while not await served.broker.depth(dead_letters("shop.batched")):
                await asyncio.sleep(PAUSE)
        assert await served.broker.depth(dead_letters("shop.batched")) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_a_number_that_json_does_not_have_is_refused(serving, number):
    service = Service("bank")

    @service.function(on.post("/transfers"))
    async def transfer(amount: float) -> None: ...

    async with serving(service) as served:
        body = f'{{"amount": {number}}}'
        async with served.http.post("/transfers", data=body, headers=JSON) as answer:
            assert answer.status == 422
            assert (await answer.json(content_type=None))["errors"][0]["type"] == "json_invalid"


async def test_what_is_not_json_is_what_lambda_says(serving, shop):
    async with serving(shop) as served:
        client = boto3.client(
            "lambda",
            endpoint_url=served.url,
            region_name="eu-central-1",
            aws_access_key_id="x",
            aws_secret_access_key="y",
        )
        for kind in ("RequestResponse", "Event"):
            with pytest.raises(ClientError) as refused:
                await asyncio.to_thread(
                    client.invoke, FunctionName="shop.order", InvocationType=kind, Payload=b"{not"
                )
            assert refused.value.response["Error"]["Code"] == "InvalidRequestContentException"
