"""What no process declares any more is unbound, and nothing else is."""

import asyncio
import logging
from contextlib import AsyncExitStack

import pytest

from eventmesh.leftovers.index import read_services
from eventmesh.leftovers.keeper import IDLE_SECONDS
from eventmesh.leftovers.record import load_record
from eventmesh.model.errors import AccessDenied
from eventmesh.model.message import Message
from eventmesh.model.topology import SERVICES, Binding, inbox, record_name, to_function

WIDE, NARROW = ("order.*",), ("order.placed",)
SOON = 60 * 4
"""Seconds after which what is to be unbound has been: the grace, and a few looks."""


async def record_of(broker, service="shop"):
    async with broker.lease(record_name(service)) as lease:
        return load_record(service, lease.state)


async def test_a_newer_version_unbinds_when_the_older_one_has_stopped(shop, clock):
    async with AsyncExitStack() as old:
        await old.enter_async_context(shop.process(f=WIDE, g=NARROW))
        async with shop.process(f=NARROW):
            await clock.advance(SOON)
            assert await shop.get("order.cancelled") == {"f"}
            assert await shop.get("order.placed") == {"f", "g"}
            await old.aclose()
            await clock.advance(SOON)
            assert await shop.get("order.cancelled") == set()
            assert await shop.get("order.placed") == {"f"}


async def test_it_does_so_too_where_the_older_one_had_stopped_before(shop, clock):
    async with shop.process(f=WIDE, g=NARROW):
        pass
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        assert await shop.get("order.cancelled") == set()
        assert await shop.get("order.placed") == {"f"}


async def test_and_where_the_older_one_was_started_last(shop, clock):
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        async with shop.process(f=WIDE):
            await clock.advance(SOON)
        await clock.advance(3600)
        assert await shop.get("order.cancelled") == set()


async def test_what_a_function_has_is_kept_when_it_is_gone(shop, broker, clock):
    async with shop.process(f=NARROW, g=NARROW):
        pass
    await broker.publish(to_function("shop.g"), Message(b"1", "1", clock.now()))
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        assert await broker.depth(inbox("shop.g")) == 1
    gone = (await record_of(broker)).functions["shop.g"]
    assert gone.gone > 0
    assert (gone.patterns, list(gone.unbound)) == ({}, ["order.placed"])


async def test_a_process_that_is_away_for_less_than_the_grace_misses_nothing(shop, clock):
    async with shop.process(f=NARROW):
        for _ in range(5):
            async with shop.process(f=WIDE):
                await clock.advance(30)
            await clock.advance(45)
            assert await shop.get("order.cancelled") == {"f"}


async def test_a_process_that_comes_back_is_bound_again(shop, clock):
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        async with shop.process(f=WIDE):
            assert await shop.get("order.cancelled") == {"f"}
            await clock.advance(SOON)
            assert await shop.get("order.cancelled") == {"f"}


async def test_what_another_process_unbinds_in_the_meantime_is_bound_again(shop, broker, clock):
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW), AsyncExitStack() as stack:
        await clock.advance(SOON)
        async with broker.lease(record_name("shop")):
            # It has bound its patterns, and the others do not know of it yet.
            await stack.enter_async_context(shop.process(f=WIDE))
            await broker.unbind([Binding(inbox("shop.f"), "order.*")])
        await clock.settle()
        assert await shop.get("order.cancelled") == {"f"}


async def test_what_a_process_bound_unheard_is_unbound_again(shop, clock):
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        async with shop.process(f=WIDE, silent=True):
            assert await shop.get("order.cancelled") == {"f"}
        await clock.advance(IDLE_SECONDS * 1.5 + 1)
        assert await shop.get("order.cancelled") == set()


async def test_nothing_is_unbound_while_a_process_does_not_say_what_it_declares(shop, clock):
    async with shop.process(f=WIDE):
        pass
    async with AsyncExitStack() as old:
        await old.enter_async_context(shop.process(f=WIDE, says=False))
        async with shop.process(f=NARROW):
            await clock.advance(SOON)
            assert await shop.get("order.cancelled") == {"f"}
            await old.aclose()
            await clock.advance(SOON)
            assert await shop.get("order.cancelled") == set()


async def test_other_services_are_left_alone(shop, clock):
    async with shop.process(service="audit", note=("order.#",)):
        pass
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW):
        await clock.advance(SOON)
        assert await shop.get("order.cancelled") == {"note"}


async def test_many_replicas_do_not_look_more_often_than_one(shop, broker, clock, monkeypatch):
    async with shop.process(f=WIDE), AsyncExitStack() as stack:
        for _ in range(20):
            await stack.enter_async_context(shop.process(f=NARROW))
        asked, publish = [], broker.publish

        async def count(route, message, *, delay=0.0, give_up=True):
            if message.type == "query":
                asked.append(route)
            await publish(route, message, delay=delay, give_up=give_up)

        monkeypatch.setattr(broker, "publish", count)
        await clock.advance(30 * 60)
    # One looks each 15 s on average; alone it would be 120 times.
    assert 0 < len(asked) < 260


async def test_all_services_are_listed(shop, broker, clock, inspector):
    assert await read_services(broker, inspector, clock) == set()
    async with shop.process(), shop.process(service="audit"):
        pass
    assert await read_services(broker, inspector, clock) == {"shop", "audit"}


@pytest.mark.parametrize("state", [b"?", b"[1]", b'["a b", "shop"]', b'{"a":1}', b"[" * 400_000])
async def test_a_list_that_anybody_may_have_written_harms_nobody(
    shop, broker, clock, inspector, state
):
    async with broker.lease("em.services") as lease:
        await lease.save(state)
    async with shop.process():
        pass
    assert await read_services(broker, inspector, clock) == {"shop"}


async def test_who_may_not_unbind_says_so_once_and_does_not_end(shop, broker, clock, caplog):
    async def refuse(bindings, keep=()):
        raise AccessDenied("unbinding 'em.inbox.shop.f': access refused")

    broker.unbind = refuse
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW):
        with caplog.at_level(logging.WARNING):
            await clock.advance(3600)
        assert await shop.get("order.cancelled") == {"f"}
    (warning,) = caplog.messages
    assert "eventmesh prune shop.f" in warning


async def test_a_process_stops_at_once_while_another_has_the_record(shop, broker, clock):
    async with broker.lease(record_name("shop")), asyncio.timeout(60), shop.process(f=WIDE):
        await clock.advance(60)


async def test_a_list_of_services_that_is_in_use_keeps_nobody_from_unbinding(shop, broker, clock):
    async with shop.process(f=WIDE):
        pass
    async with broker.lease(SERVICES), shop.process(f=NARROW):
        await clock.advance(SOON)
        assert await shop.get("order.cancelled") == set()


async def test_who_may_not_unbind_does_not_ask_again_and_again(shop, broker, clock):
    asked = []

    async def refuse(bindings, keep=()):
        asked.append(bindings)
        raise AccessDenied("unbinding 'em.inbox.shop.f': access refused")

    broker.unbind = refuse
    async with shop.process(f=WIDE):
        pass
    async with shop.process(f=NARROW):
        await clock.advance(3600)
    assert 1 < len(asked) <= 13
