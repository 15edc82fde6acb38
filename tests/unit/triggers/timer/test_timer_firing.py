"""What timers fire while all is well: messages, moments, jitter, one replica of several."""

import asyncio
from datetime import UTC, datetime, timedelta

from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.context import Context
from eventmesh.engine.function import Function
from eventmesh.model.event import ATTRIBUTE_PREFIX, TIMER_TYPE
from eventmesh.model.topology import inbox, lease_name
from eventmesh.service import Service
from eventmesh.triggers import on
from eventmesh.triggers.timer.leader import MAX_CONCURRENT_FIRINGS
from eventmesh.triggers.timer.schedules import HOUR, SECOND
from eventmesh.triggers.timer.trigger import TimerTrigger

BERLIN = "Europe/Berlin"


async def test_an_interval_fires_at_multiples_of_its_period(running, clock, scheduled):
    await clock.advance("3s")
    async with running(on.every("10s")):
        await clock.advance("30s")
    assert await scheduled() == [
        "2026-01-01 00:00:10",
        "2026-01-01 00:00:20",
        "2026-01-01 00:00:30",
    ]


async def test_an_interval_with_a_start_fires_from_then_on(running, clock, scheduled):
    async with running(on.every("10s", start="2026-01-01T00:01:05Z")):
        await clock.advance("90s")
    assert await scheduled() == [
        "2026-01-01 00:01:05",
        "2026-01-01 00:01:15",
        "2026-01-01 00:01:25",
    ]


async def test_a_cron_of_next_week(running, clock, scheduled):
    async with running(on.cron("0 3 * * THU", tz=BERLIN)):
        await clock.advance("8d")
    assert await scheduled() == ["2026-01-01 02:00:00", "2026-01-08 02:00:00"]


async def test_a_cron_over_both_changes_of_the_clocks(running, clock, scheduled):
    async with running(on.cron("30 2 * * SUN", tz=BERLIN)):
        await clock.advance("300d")
    moments = await scheduled()
    assert len(moments) == 43
    # 02:30 in winter is 01:30 UTC; the change of March skips it, that of October repeats it.
    assert moments[11:14] == ["2026-03-22 01:30:00", "2026-03-29 01:00:00", "2026-04-05 00:30:00"]
    assert moments[42:] == ["2026-10-25 00:30:00"]


async def test_a_single_moment_fires_once(running, clock, scheduled):
    async with running(on.at("2026-12-24T18:00:00+01:00")):
        await clock.advance("400d")
    assert await scheduled() == ["2026-12-24 17:00:00"]


async def test_several_timers_fire_in_the_order_of_their_moments(running, clock, fired):
    async with running(on.every("40s"), on.cron("* * * * *"), on.at("2026-01-01T00:00:50Z")):
        await clock.advance("80s")
    assert [message.trigger for message in await fired()] == ["every", "at", "cron", "every"]


async def test_a_firing_is_an_event(running, clock, fired):
    async with running(on.cron("0 3 * * *", tz=BERLIN)):
        await clock.advance("3h")
    (message,) = await fired()
    assert message.body == b"null"
    assert message.trigger == "cron"
    assert message.type == TIMER_TYPE
    assert message.timestamp == clock.now() - 3600
    assert message.headers == {
        f"{ATTRIBUTE_PREFIX}specversion": "1.0",
        f"{ATTRIBUTE_PREFIX}source": "/timers/orders.tick",
        f"{ATTRIBUTE_PREFIX}time": "2026-01-01T02:00:00Z",
        f"{ATTRIBUTE_PREFIX}subject": "cron 0 3 * * * (Europe/Berlin)",
    }


async def test_the_handler_knows_the_moment(running, clock, fired):
    async with running(on.every("1h")):
        await clock.advance("1h")
    (message,) = await fired()
    context = Context(invocation_from(message, "orders.tick", "async"), None, clock)
    assert context.scheduled_at.isoformat() == "2026-01-01T01:00:00+00:00"


async def test_ids_differ_by_moment_and_schedule_only(running, clock, fired):
    async with running(on.every("1h"), on.every("30m"), on.cron("0 * * * *")):
        await clock.advance("2h")
    ids = [message.id for message in await fired()]
    assert len(ids) == 8
    assert len(set(ids)) == 8
    assert all(len(id) == 32 for id in ids)


async def test_jitter_delays_the_run_and_not_the_moment(running, broker, clock, fired):
    async with running(on.every("1h", jitter="10m")):
        await clock.advance("1h")
        assert await fired() == []
        assert broker.statistics()[inbox("orders.tick").name].delayed == 1
        await clock.advance("10m")
        (message,) = await fired()
        assert message.headers[f"{ATTRIBUTE_PREFIX}time"] == "2026-01-01T01:00:00Z"


def test_jitter_is_spread_and_the_same_for_whoever_fires():
    shifts = _shifts()
    assert shifts == _shifts()
    assert all(0 <= shift <= 600 for shift in shifts)
    assert max(shifts) - min(shifts) > 300


def _shifts() -> list[float]:
    timer = on.every("1h", jitter="10m").timer(_function(on.every("1h")))
    hours = [hour * HOUR for hour in range(100)]
    return [timer.build_message(hour, hour).timestamp - hour / SECOND for hour in hours]


def test_what_is_late_is_not_made_later_by_jitter():
    timer = on.every("1h", jitter="10m").timer(_function(on.every("1h")))
    assert timer.build_message(0, HOUR).timestamp == HOUR / SECOND


async def test_one_of_several_replicas_fires(running, clock, fired):
    async with running(on.every("10s")), running(on.every("10s")), running(on.every("10s")):
        await clock.advance("60s")
    assert len(await fired()) == 6


async def test_the_next_goes_on_when_the_one_that_fires_leaves(running, clock, scheduled):
    async with running(on.every("10s")):
        async with running(on.every("10s")):
            await clock.advance("15s")
        await clock.advance("15s")
    assert len(await scheduled()) == 3


async def test_each_service_has_a_holder_of_its_own(broker, clock, running, context):
    functions = [_function(on.every("10s"), service) for service in ("orders", "mailer")]
    bound = [(function.spec, function.spec.triggers[0]) for function in functions]
    await broker.declare([inbox(function.full_name) for function in functions])
    # The timers of "orders" are fired by another process; those of "mailer" still are by this one.
    async with (
        broker.lease(lease_name("orders")),
        TimerTrigger.source(bound, context),
    ):
        await clock.advance("10s")
        assert await broker.depth(inbox("mailer.tick")) == 1
        assert await broker.depth(inbox("orders.tick")) == 0


async def test_leaving_gives_the_lease_back_at_once(running, broker, clock):
    async with running(on.cron("0 0 1 1 *")):
        await clock.settle()
    async with asyncio.timeout(60), broker.lease(lease_name("orders")) as held:
        assert b"orders.tick cron 0 0 1 1 * (UTC)" in held.state


async def test_leaving_ends_the_wait_for_the_lease(running, broker, clock, fired):
    async with broker.lease(lease_name("orders")):
        async with asyncio.timeout(60), running(on.every("10s")):
            await clock.advance("1m")
        assert await fired() == []


async def test_publishing_at_once_has_a_bound(running, connect, broker, clock, fired):
    noons = [f"0 12 1-{day} 1-{month} *" for day in range(1, 21) for month in range(1, 13)]
    connection = connect(broker)
    connection.open.clear()
    async with running(*map(on.cron, noons), broker=connection):
        await clock.advance("12h")
        assert connection.most_publishing == MAX_CONCURRENT_FIRINGS
        connection.open.set()
        await clock.settle()
    assert len(await fired()) == 240
    assert connection.most_publishing == MAX_CONCURRENT_FIRINGS


async def test_firings_in_quick_succession_are_saved_together(running, connect, broker, clock):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    triggers = [on.at(noon + timedelta(microseconds=number)) for number in range(5)]
    connection = connect(broker)
    async with running(*triggers, broker=connection):
        await clock.advance("12h")
        await clock.advance("1s")
        # When the lease was taken, after the first, and some time later for the others.
        assert connection.saved == 3
    assert connection.saved == 3


async def test_thousands_of_timers(broker, clock, context):
    orders = Service("orders")
    functions = [
        orders.function(on.cron(f"{number % 60} * * * *"), name=f"tick_{number}")(_tick)
        for number in range(3_000)
    ]
    await broker.declare([inbox(function.full_name) for function in functions])
    bound = [(function.spec, function.spec.triggers[0]) for function in functions]
    async with TimerTrigger.source(bound, context):
        await clock.advance("1h")
    depths = [await broker.depth(inbox(function.full_name)) for function in functions]
    assert depths == [1] * 3_000


async def _tick() -> None: ...


def _function(trigger: TimerTrigger, service: str = "orders") -> Function:
    return Service(service).function(trigger, name="tick")(_tick)
