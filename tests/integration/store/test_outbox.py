"""The outbox on real databases: what is sent, when, and in which order."""

import asyncio

import pytest
from sqlalchemy import text

from eventmesh import Context, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.event import ATTRIBUTE_PREFIX


class StubbornBroker(MemoryBroker):
    """A broker that can be away, and refuse messages by their type."""

    def __init__(self):
        super().__init__()
        self.away = False
        self.refused = set()
        self.published = []

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if self.away:
            raise BrokerUnavailable("it is away")
        if message.type in self.refused:
            raise ValueError("this one cannot be sent")
        await super().publish(route, message, delay=delay, give_up=give_up)
        self.published.append(message)


@pytest.fixture
async def broker():
    async with StubbornBroker() as broker:
        yield broker


def build_service(received, run=None):
    service = Service("orders")

    @service.function
    async def place(numbers: list[int], ctx: Context, key: str = "") -> None:
        async with ctx.transaction(key=key) as session:
            await session.execute(text("SELECT 1"))
            for number in numbers:
                await ctx.emit("order.placed", {"number": number})
            if run is not None:
                await run(session, ctx)

    @service.function(on.event("order.placed"), concurrency=1)
    async def receive(number: int) -> None:
        received.append(number)

    return service


async def pending(query):
    return [row.id for row in await query("SELECT id FROM eventmesh_outbox")]


async def test_what_is_committed_is_published_and_deleted(hosting, query, broker, eventually):
    received = []
    async with hosting(build_service(received), broker=broker) as host:
        await host.caller.invoke("orders.place", {"numbers": [1, 2, 3]})
        await eventually(lambda: pending(query), [])
        await eventually(lambda: asyncio.sleep(0, received), [1, 2, 3])


async def test_what_is_rolled_back_sends_nothing(hosting, query, broker):
    async def fail(session, ctx):
        await session.flush()
        raise ValueError("no")

    async with hosting(build_service([], fail), broker=broker) as host:
        with pytest.raises(Exception, match="no"):
            await host.caller.invoke("orders.place", {"numbers": [1]})
        assert await pending(query) == []
        assert broker.published == []


async def test_a_broker_that_is_away_gets_it_later_in_order(hosting, query, broker, eventually):
    received = []
    async with hosting(build_service(received), broker=broker) as host:
        broker.away = True
        for number in range(20):
            await host.caller.invoke(
                "orders.place", {"numbers": [number, number + 100], "key": "one"}
            )
        assert len(await pending(query)) == 40
        broker.away = False
        await eventually(lambda: pending(query), [])
        expected = [each for number in range(20) for each in (number, number + 100)]
        await eventually(lambda: asyncio.sleep(0, received), expected)


async def test_what_cannot_be_published_holds_back_its_key_alone(
    hosting, query, broker, eventually
):
    service = Service("orders")

    @service.function
    async def place(type: str, subject: str, ctx: Context) -> None:
        async with ctx.transaction():
            await ctx.emit(type, subject=subject)

    broker.refused = {"order.bad"}
    async with hosting(service, broker=broker) as host:
        for type, subject in (("order.bad", "a"), ("order.good", "a"), ("order.good", "b")):
            await host.caller.invoke("orders.place", {"type": type, "subject": subject})

        async def published():
            return [
                message.headers[f"{ATTRIBUTE_PREFIX}subject"]
                for message in broker.published
                if message.type
            ]

        await eventually(published, ["b"])
        rows = await query("SELECT attempts, error FROM eventmesh_outbox ORDER BY id")
        assert rows[0].attempts >= 1
        assert rows[0].error == "ValueError: this one cannot be sent"
        assert rows[1].attempts == 0
        broker.refused = set()
        await eventually(published, ["b", "a", "a"])
        assert broker.published[-2].type == "order.bad"
        await eventually(lambda: pending(query), [])


async def test_a_duplicate_of_a_message_changes_nothing(hosting, query, broker, eventually):
    """What a relay publishes twice, because it died before it deleted it, has one id."""
    service = Service("orders")

    @service.function(on.event("order.placed"))
    async def receive(number: int, ctx: Context) -> None:
        async with ctx.transaction() as session:
            await session.execute(text("INSERT INTO received VALUES (:id)"), {"id": number})

    await query("CREATE TABLE received (id INT)")
    async with hosting(service, broker=broker) as host:
        for _ in range(3):
            await host.caller.emit("order.placed", {"number": 7}, id="one")
        await host.caller.emit("order.placed", {"number": 8}, id="two")

        async def rows():
            return sorted(row.id for row in await query("SELECT id FROM received"))

        await eventually(rows, [7, 8])
    assert await rows() == [7, 8]
