"""What a mesh under test remembers."""

from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from eventmesh import Context, PayloadInvalid, Retry, Service, Throttled, on
from eventmesh.model.event import event_headers
from eventmesh.model.message import Message
from eventmesh.model.topology import to_function
from eventmesh.testing import DeadLettered, Retried, Sent, TestMesh
from eventmesh.testing.clock import START
from eventmesh.testing.records import HISTORY, History

MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)


class Order(BaseModel):
    item: str


async def test_what_is_sent():
    shop = Service("shop")

    @shop.function
    async def place(order: Order, ctx: Context) -> None:
        await ctx.send("mailer.receipt", order, delay="30s", headers={"tenant": "a"})

    async with TestMesh(shop, stubs={"mailer.receipt": None}) as mesh:
        id = await mesh.send(place, Order(item="tea"))
        await mesh.settle()
        by_test, by_function = mesh.sent
    assert (by_test.function, by_test.id, by_test.caller) == ("shop.place", id, "")
    assert (by_function.function, by_function.caller) == ("mailer.receipt", "shop.place")
    assert (by_function.delay, by_function.time) == (30.0, MIDNIGHT)
    assert by_function.headers["tenant"] == "a"
    assert by_function.payload == b'{"item":"tea"}'
    assert by_function.json == {"item": "tea"}
    assert by_function.read(Order) == Order(item="tea")
    with pytest.raises(PayloadInvalid):
        by_function.read(list[int])


async def test_what_is_sent_to_a_queue():
    shop, taken = Service("shop"), []

    @shop.function(on.queue("invoices"))
    async def take(number: int) -> None:
        taken.append(number)

    async with TestMesh(shop) as mesh:
        await mesh.send("queue:invoices", {"number": 1})
        await mesh.settle()
        assert [(sent.function, sent.json) for sent in mesh.sent] == [
            ("queue:invoices", {"number": 1})
        ]
    assert taken == [1]


async def test_what_is_emitted_with_or_without_a_subscriber():
    async with TestMesh() as mesh:
        await mesh.emit("order.placed", Order(item="tea"), subject="7", source="/web", delay=5)
        (event,) = mesh.emitted
    assert (event.type, event.subject, event.source) == ("order.placed", "7", "/web")
    assert (event.delay, event.json) == (5.0, {"item": "tea"})


async def test_what_is_invoked():
    shop = Service("shop")

    @shop.function
    async def place(ctx: Context) -> int:
        return await ctx.invoke("pricing.quote", {"item": "tea"}, returns=int)

    async with TestMesh(shop, stubs={"pricing.quote": 5}) as mesh:
        await mesh.invoke(place)
        calls = [(call.function, call.caller, call.json) for call in mesh.invoked]
        assert calls == [
            ("shop.place", "", None),
            ("pricing.quote", "shop.place", {"item": "tea"}),
        ]
        assert mesh.sent == []


async def test_what_is_retried_and_dead_lettered():
    shop = Service("shop")

    @shop.function(retry=Retry(2, initial="1m", jitter="none"))
    async def work(order: Order) -> None:
        raise ValueError(f"no {order.item}")

    async with TestMesh(shop, allow_failures=True) as mesh:
        id = await mesh.send(work, Order(item="tea"))
        await mesh.advance("1h")
        (retry,), (letter,) = mesh.retried, mesh.dead_letters
        assert [type(record) for record in mesh.records] == [Sent, Retried, DeadLettered]
    assert (retry.function, retry.attempt, retry.delay) == ("shop.work", 2, 60.0)
    assert (letter.function, letter.attempts, letter.id) == ("shop.work", 2, id)
    assert letter.reason == "all 2 attempts failed"
    assert (letter.error_type, letter.error_message) == ("ValueError", "ValueError: no tea")
    assert "in work" in letter.traceback
    assert letter.json == {"item": "tea"}
    assert letter.headers == {}


async def test_the_retry_of_a_broadcast_event_names_its_function():
    shop = Service("shop")

    @shop.function(on.event("cache.*", broadcast=True))
    async def forget(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")

    async with TestMesh(shop) as mesh:
        await mesh.emit("cache.cleared")
        await mesh.advance("1m")
        assert [retry.function for retry in mesh.retried] == ["shop.forget"]


async def test_what_is_throttled_comes_again_without_a_new_attempt():
    stubs = {"shop.work": Throttled("busy", 20.0)}
    async with TestMesh(stubs=stubs, allow_failures=True) as mesh:
        await mesh.send("shop.work")
        await mesh.settle()
        assert [(retry.attempt, retry.delay) for retry in mesh.retried] == [(1, 20.0)]


async def test_records_read_well():
    async with TestMesh(stubs={"mailer.receipt": None}) as mesh:
        await mesh.send("mailer.receipt", {"total": 5})
        assert repr(mesh.sent) == (
            """[Sent(payload=b'{"total":5}', caller='', function='mailer.receipt', delay=0.0)]"""
        )


def test_the_oldest_records_go_first():
    history, route = History(), to_function("shop.work")
    for number in range(HISTORY + 1):
        message = Message(b"", str(number), START, headers=event_headers("/", START))
        history.record_publish(route, message, 0.0, START)
    kept = history.select(Sent)
    assert len(kept) == HISTORY
    assert kept[0].id == "1"
