"""The client, over HTTP."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from pydantic import BaseModel
from waiting import DEADLINE

from eventmesh import (
    AccessDenied,
    BrokerUnavailable,
    Client,
    Context,
    Event,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    Reject,
    Service,
    SettingsError,
    Throttled,
    on,
)


class Order(BaseModel):
    sku: str
    quantity: int = 1


class Shop:
    """A service, and what has reached it."""

    def __init__(self):
        self.service = service = Service("shop")
        self.seen = asyncio.Queue()
        self.busy, self.end = asyncio.Event(), asyncio.Event()

        @service.function
        async def place(order: Order) -> Order:
            return order

        @service.function
        async def numbers() -> AsyncIterator[int]:
            yield 1
            yield 2

        @service.function
        async def reverse(data: bytes) -> bytes:
            return data[::-1]

        @service.function
        async def work(ctx: Context, number: int = 0) -> None:
            self.seen.put_nowait((number, ctx.id, dict(ctx.headers)))
            if number < 0:
                raise Reject("negative")

        @service.function(on.event("shop.#"))
        async def heed(event: Event) -> None:
            self.seen.put_nowait(event)

        @service.function
        async def broken() -> None:
            raise ValueError("no stock")

        @service.function(concurrency=1, max_pending=0, max_payload=50)
        async def narrow(data: str = "") -> None:
            self.busy.set()
            await self.end.wait()

        self.place, self.numbers = place, numbers

    async def next(self):
        return await asyncio.wait_for(self.seen.get(), 60)


@pytest.fixture
def shop():
    return Shop()


@pytest.fixture
async def served(serving, shop):
    async with serving(shop.service) as served:
        yield served


@pytest.fixture
async def client(served):
    async with Client(served.url) as client:
        yield client


async def test_a_function_is_invoked_and_its_result_is_typed(client, shop):
    order = Order(sku="a", quantity=3)

    assert await client.invoke(shop.place, order) == order
    assert await client.invoke(shop.numbers) == [1, 2]
    assert await client.invoke("shop.place", order, returns=Order) == order
    assert await client.invoke("shop.place", {"sku": "b"}) == {"sku": "b", "quantity": 1}
    assert await client.invoke("shop.reverse", b"\x00\xff", returns=bytes) == b"\xff\x00"


@pytest.mark.parametrize("name", ["shop.nix", "nonsense", "", "a/b", "ü.ü"])
async def test_a_name_that_leads_nowhere_is_not_found(client, name):
    with pytest.raises(FunctionNotFound):
        await client.invoke(name)
    with pytest.raises(FunctionNotFound):
        await client.send(name)


async def test_a_failure_is_the_error_that_it_was(client):
    with pytest.raises(FunctionError, match="no stock") as failed:
        await client.invoke("shop.broken")
    assert failed.value.type == "ValueError"
    assert "raise ValueError" in failed.value.traceback

    with pytest.raises(PayloadInvalid) as invalid:
        await client.invoke("shop.place", {})
    assert [error["loc"] for error in invalid.value.errors] == [("sku",)]

    with pytest.raises(PayloadTooLarge) as large:
        await client.invoke("shop.narrow", "x" * 50)
    assert large.value.limit == 50


async def test_limits_and_deadlines_are_errors(client, shop):
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(client.invoke("shop.narrow"))
        await shop.busy.wait()
        with pytest.raises(Throttled) as throttled:
            await client.invoke("shop.narrow")
        shop.end.set()
        await first
    assert throttled.value.retry_after > 0

    shop.end.clear()
    with pytest.raises(InvocationTimeout):
        await client.invoke("shop.narrow", timeout="50ms")
    with pytest.raises(InvocationTimeout, match="was not called"):
        await client.invoke("shop.narrow", timeout=0)


async def test_something_is_sent_with_its_headers(client, shop):
    id = await client.send("shop.work", {"number": 7}, headers={"tenant": "ü &="}, id="my id")

    assert id == "my id"
    assert await shop.next() == (7, "my id", {"tenant": "ü &="})


async def test_something_is_sent_later(serving, shop, manual_clock):
    async with (
        serving(shop.service, clock=manual_clock) as served,
        Client(served.url) as client,
    ):
        await client.send("shop.work", {"number": 2}, delay="200ms")
        await client.send("shop.work", {"number": 1})
        assert (await shop.next())[0] == 1
        await manual_clock.advance(0.19)
        assert shop.seen.empty()
        await manual_clock.advance(0.01)
        assert (await shop.next())[0] == 2


async def test_an_event_is_emitted_with_its_attributes(client, shop):
    id = await client.emit(
        "shop.opened", {"at": 9}, subject="ü %", source="/door", headers={"tenant": "a"}
    )
    event = await shop.next()

    assert (event.type, event.id, event.data) == ("shop.opened", id, {"at": 9})
    assert (event.subject, event.source) == ("ü %", "/door")


async def test_dead_letters_are_looked_after(client, shop, served):
    for number in (-1, -2, -3):
        await client.send("shop.work", {"number": number}, id=f"id {number}")
        await shop.next()
    async with asyncio.timeout(DEADLINE):
        await served.broker.wait_idle()
    letters = client.dead_letters

    assert [one.id for one in await letters.list("shop.work", 2)] == ["id -1", "id -2"]
    shown = await letters.show("shop.work", "id -2")
    assert (shown.reason, shown.payload) == ("negative", b'{"number":-2}')
    assert await letters.show("shop.work", "other") is None
    assert await letters.redrive("shop.work", id="id -2") == 1
    assert await letters.redrive("shop.work", limit=1) == 1
    assert {(await shop.next())[1], (await shop.next())[1]} == {"id -1", "id -2"}
    async with asyncio.timeout(DEADLINE):
        await served.broker.wait_idle()
    assert await letters.purge("shop.work") == 3
    assert await letters.list("shop.work") == []


async def test_a_mesh_that_is_away_is_unavailable():
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(BrokerUnavailable, match=r"http://127\.0\.0\.1:1 cannot be reached"):
            await client.invoke("shop.place")
        with pytest.raises(BrokerUnavailable):
            await client.send("shop.place")
        with pytest.raises(BrokerUnavailable):
            await client.emit("shop.opened")
        with pytest.raises(BrokerUnavailable):
            await client.dead_letters.list("shop.place")


async def test_a_mesh_without_its_api_is_told_as_that(serving, shop):
    async with serving(shop.service, api=False) as served, Client(served.url) as client:
        with pytest.raises(BrokerUnavailable, match=r"404 .*with its API switched on"):
            await client.invoke("shop.place")
        with pytest.raises(BrokerUnavailable, match="with its API switched on"):
            await client.dead_letters.show("shop.place", "id")


async def test_what_forbids_is_access_denied(other_server):
    async def forbid(_):
        return web.json_response({"detail": "not you"}, status=403)

    async with other_server(forbid) as url, Client(url) as client:
        with pytest.raises(AccessDenied, match="not you"):
            await client.invoke("shop.place")


async def test_what_is_no_mesh_is_told_as_that(other_server):
    async def greet(_):
        return web.Response(text="hello", status=418)

    async with other_server(greet) as url, Client(url) as client:
        with pytest.raises(BrokerUnavailable, match="answered 418"):
            await client.send("shop.place")


async def test_an_idle_connection_that_was_closed_is_opened_again(other_server):
    seen = []

    async def answer(request):
        seen.append(request.transport)
        if len(seen) == 2:
            request.transport.close()
            await asyncio.sleep(0)
        return web.json_response("done")

    async with other_server(answer) as url, Client(url) as client:
        for _ in range(2):
            await client.send("shop.place", id="the-id")
    assert len(seen) == 3


async def test_an_invocation_is_sent_once(other_server):
    """Its function may have ended the worker that it ran in: another one would be next."""
    seen = []

    async def answer(request):
        seen.append(await request.read())
        if len(seen) == 2:
            request.transport.close()
            await asyncio.sleep(0)
        return web.json_response("done")

    async with other_server(answer) as url, Client(url) as client:
        assert await client.invoke("shop.place") == "done"
        with pytest.raises(BrokerUnavailable, match="may or may not have been done"):
            await client.invoke("shop.place")
    assert len(seen) == 2


async def test_a_client_is_used_inside_its_block_and_can_be_entered_again(served):
    client = Client(served.url)
    with pytest.raises(RuntimeError, match="async with Client"):
        await client.invoke("shop.place")
    for _ in range(2):
        async with client:
            assert await client.invoke("shop.numbers") == [1, 2]
    with pytest.raises(RuntimeError, match="async with Client"):
        await client.dead_letters.list("shop.place")


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("memory://", "embedded broker lives inside the process"),
        ("ftp://127.0.0.1", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://127.0.0.1:8080"),
        ("", "http://127.0.0.1:8080"),
    ],
)
def test_a_url_that_leads_to_no_mesh_is_refused_with_advice(url, advice):
    with pytest.raises(SettingsError, match=advice):
        Client(url)


def test_a_client_shows_no_secret():
    assert "hunter2" not in repr(Client("http://me:hunter2@127.0.0.1:8080"))
