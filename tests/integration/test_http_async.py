import asyncio

import pytest
from pydantic import BaseModel
from waiting import DEADLINE

from eventmesh import Context, Retry, Service, on
from eventmesh.aio.clock import SystemClock
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters


class Order(BaseModel):
    sku: str
    quantity: int = 1


class Worker:
    """A service that stores what it is asked to do, and does it when it may."""

    def __init__(self):
        self.service = Service("orders")
        self.seen = []
        self.done = asyncio.Event()
        self.error = None

        @self.service.function(
            on.put("/orders/{order_id}", mode="async"), retry=Retry(1), on_failure="queue:failed"
        )
        async def change(order_id: int, order: Order, ctx: Context, loud: bool = False) -> None:
            self.seen.append((order_id, order, loud, ctx.trigger, ctx.id))
            self.done.set()
            if self.error is not None:
                raise self.error


@pytest.fixture
def worker():
    return Worker()


async def wait_until_settled(served):
    async with asyncio.timeout(DEADLINE):
        await served.broker.wait_idle()


async def test_a_request_is_stored_and_then_run(serving, worker):
    async with serving(worker.service) as served:
        body = {"sku": "a", "quantity": 2}
        async with served.http.put("/orders/17?loud=yes", json=body) as answer:
            assert answer.status == 202
            accepted = await answer.json()
        await asyncio.wait_for(worker.done.wait(), 60)

    (seen,) = worker.seen
    assert seen == (17, Order(sku="a", quantity=2), True, "http", accepted["id"])
    assert accepted["function"] == "orders.change"
    assert answer.headers["x-eventmesh-invocation-id"] == accepted["id"]
    assert answer.headers["Location"] == accepted["status_url"]


async def test_what_does_not_fit_is_refused_and_not_stored(serving, worker):
    async with serving(worker.service) as served:
        async with served.http.put("/orders/x", json={}) as answer:
            assert answer.status == 422
            locations = [error["loc"] for error in (await answer.json(content_type=None))["errors"]]
        await wait_until_settled(served)

    assert locations == [["path", "order_id"], ["body", "sku"]]
    assert worker.seen == []


async def test_the_location_tells_what_became_of_it(serving, worker):
    worker.error = ValueError("no stock")
    async with serving(worker.service) as served:
        async with served.http.put("/orders/17", json={"sku": "a"}) as answer:
            where = answer.headers["Location"]
        await asyncio.wait_for(worker.done.wait(), 60)
        await wait_until_settled(served)
        async with served.http.get(where) as answer:
            dead = await answer.json()
        async with served.http.get(where.rpartition("/")[0] + "/unknown") as answer:
            unknown = await answer.json()

    assert dead["state"] == "dead-lettered"
    assert dead["dead_letter"]["error_message"] == "ValueError: no stock"
    assert unknown["state"] == "unknown"


async def test_without_the_api_there_is_no_location(serving, worker):
    async with (
        serving(worker.service, api=False) as served,
        served.http.put("/orders/17", json={"sku": "a"}) as answer,
    ):
        assert answer.status == 202
        assert "Location" not in answer.headers
        assert set(await answer.json()) == {"id", "function"}


async def test_a_trace_with_bytes_that_are_no_text_is_stored_and_may_fail(serving, worker):
    worker.error = ValueError("no")
    async with serving(worker.service, trace_trust=("127.0.0.0/8",)) as served:
        reader, writer = await served.connect()
        writer.write(
            b"PUT /orders/1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n"
            b"Content-Type: application/json\r\n"
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
            b"baggage: a=\xff\r\n\r\n"
            b'{"sku":"a"}'
        )
        assert b" 202 " in await reader.readline()
        writer.close()
        await asyncio.wait_for(worker.done.wait(), 60)
        await wait_until_settled(served)
        (dead,) = await BrokerDeadLetters(served.broker, SystemClock()).list("orders.change")
    assert dead.headers["baggage"] == "a=?"
