"""A service's own tables are created when it starts, and batches commit what did not fail."""

import asyncio

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert

from eventmesh import Context, PartialFailure, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings import Settings

METADATA = MetaData()
NUMBERS = Table("numbers", METADATA, Column("number", Integer, primary_key=True))


def build_service():
    return Service("orders", tables=METADATA)


async def test_they_are_created_once_by_replicas_that_start_together(hosting, query):
    async def start(number):
        async with hosting(build_service()):
            await query("INSERT INTO numbers VALUES (:number)", number=number)

    await asyncio.gather(*map(start, range(4)))
    assert len(await query("SELECT number FROM numbers")) == 4


async def test_they_are_left_to_others_where_tables_are(hosting, query):
    async with hosting(Service("other")):
        pass
    async with hosting(build_service(), store_migrate="never"):
        with pytest.raises(Exception, match="numbers"):
            await query("SELECT number FROM numbers")


async def test_tables_without_a_store_do_not_start():
    async with MemoryBroker() as broker:
        with pytest.raises(SettingsError, match=r"'orders' has tables.*EVENTMESH_STORE"):
            async with host_services([build_service()], broker, Settings(), http=None):
                pass


def test_what_is_no_metadata_is_refused():
    with pytest.raises(DeclarationError, match=r"write tables=Base\.metadata"):
        Service("orders", tables=NUMBERS.name)


async def test_a_partial_failure_commits_the_others_and_only_what_failed_comes_back(
    hosting, query, eventually
):
    batches = []
    service = build_service()

    @service.function(on.queue("numbers", batch=10, batch_window="1s"))
    async def store(numbers: list[int], ctx: Context) -> None:
        batches.append(numbers)
        async with ctx.transaction() as session:
            failures = {}
            for index, number in enumerate(numbers):
                if number == 2 and len(batches) == 1:
                    failures[index] = "not now"
                else:
                    await session.execute(insert(NUMBERS).values(number=number))
            if failures:
                raise PartialFailure(failures)

    @service.function
    async def feed(ctx: Context) -> None:
        # The second one is no number: it never reaches the handler, and shifts its indexes.
        # They come at once, so that no pause makes two batches of them.
        await asyncio.gather(*(ctx.send("queue:numbers", each) for each in (1, "x", 2, 3)))

    async with hosting(service) as host:
        await host.caller.invoke("orders.feed")

        async def stored():
            return [row.number for row in await query("SELECT number FROM numbers ORDER BY 1")]

        await eventually(stored, [1, 2, 3])
        assert batches == [[1, 2, 3], [2]]
        # The invalid one is a dead letter, and can be redriven: it is not marked as done.
        assert len(await query("SELECT id FROM eventmesh_inbox")) == 3


async def test_a_partial_failure_that_names_no_item_rolls_back(hosting, query, eventually):
    runs = []
    service = build_service()

    @service.function(on.queue("numbers", batch=2, batch_window="100ms"))
    async def store(numbers: list[int], ctx: Context) -> None:
        runs.append(numbers)
        async with ctx.transaction() as session:
            await session.execute(insert(NUMBERS), [{"number": each} for each in numbers])
            if len(runs) == 1:
                raise PartialFailure({7: "there is no such item"})

    @service.function
    async def feed(ctx: Context) -> None:
        await ctx.send("queue:numbers", 1)

    async with hosting(service) as host:
        await host.caller.invoke("orders.feed")

        async def stored():
            return [row.number for row in await query("SELECT number FROM numbers")]

        await eventually(stored, [1])
    assert runs == [[1], [1]]
