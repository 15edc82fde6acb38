"""What happens to moments that passed while nobody was there."""

import logging

import pytest

from eventmesh.model.topology import lease_name
from eventmesh.triggers import on
from eventmesh.triggers.timer.schedules import MAX_CATCH_UP, SECOND
from eventmesh.triggers.timer.state import FORGOTTEN_AFTER


async def away(running, clock, duration: str, *triggers) -> None:
    """Run for a moment, be away so long, and run again."""
    async with running(*triggers):
        await clock.settle()
    await clock.advance(duration)
    async with running(*triggers):
        await clock.settle()


async def test_a_timer_never_seen_before_has_missed_nothing(running, clock, scheduled):
    await clock.advance("10d")
    async with running(
        on.every("1h", catch_up="all"),
        on.cron("0 * * * *", catch_up="all"),
        on.at("2026-01-05T00:00:00Z"),
    ):
        await clock.advance("59m")
    assert await scheduled() == []


async def test_skip_leaves_out_what_was_missed(running, clock, scheduled):
    await away(running, clock, "3h 2m", on.every("1h"), on.cron("0 * * * *"))
    assert await scheduled() == []


async def test_skip_fires_what_is_late_by_no_more_than_a_minute(running, clock, scheduled):
    await away(running, clock, "3h 1m", on.every("1h"))
    assert await scheduled() == ["2026-01-01 03:00:00"]


async def test_once_fires_for_the_latest(running, clock, scheduled):
    await away(running, clock, "3h 2m", on.every("1h", catch_up="once"))
    assert await scheduled() == ["2026-01-01 03:00:00"]


async def test_all_fires_each_in_order(running, clock, scheduled):
    await away(running, clock, "3h 2m", on.cron("0 * * * *", catch_up="all"))
    assert await scheduled() == [
        "2026-01-01 01:00:00",
        "2026-01-01 02:00:00",
        "2026-01-01 03:00:00",
    ]


async def test_what_was_caught_up_is_not_fired_again(running, clock, scheduled):
    every_hour = on.every("1h", catch_up="all")
    await away(running, clock, "3h 2m", every_hour)
    await away(running, clock, "30m", every_hour)
    assert len(await scheduled()) == 3


async def test_all_has_a_bound_and_says_when_it_cuts(running, clock, scheduled, caplog):
    await away(running, clock, "2d", on.every("1m", catch_up="all"))
    moments = await scheduled()
    assert len(moments) == MAX_CATCH_UP
    assert moments[-1] == "2026-01-03 00:00:00"
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == (
        "orders.tick every 1 m: more than 1000 moments were missed; the latest fire, the others "
        "do not"
    )


@pytest.mark.parametrize(
    ("catch_up", "firings"), [("skip", 0), ("once", 1), ("all", 1)], ids=["skip", "once", "all"]
)
async def test_a_single_moment_that_was_missed(running, clock, scheduled, catch_up, firings):
    when = on.at("2026-01-01T01:00:00Z", catch_up=catch_up)
    await away(running, clock, "5h", when)
    assert len(await scheduled()) == firings
    await away(running, clock, "5h", when)
    assert await scheduled() == []


@pytest.mark.parametrize(
    ("catch_up", "firings"), [("skip", 0), ("once", 0), ("all", 1)], ids=["skip", "once", "all"]
)
async def test_a_single_moment_that_was_over_when_declared(
    running, clock, scheduled, catch_up, firings
):
    when = on.at("2025-06-01T00:00:00Z", catch_up=catch_up)
    await away(running, clock, "5h", when)
    assert len(await scheduled()) == firings


async def test_a_changed_schedule_is_a_new_timer(running, clock, scheduled):
    async with running(on.every("1h", catch_up="all")):
        await clock.settle()
    await clock.advance("5h 30m")
    async with running(on.every("30m", catch_up="all")):
        await clock.advance("30m")
    assert await scheduled() == ["2026-01-01 06:00:00"]


async def test_a_changed_policy_is_the_same_timer(running, clock, scheduled):
    async with running(on.every("1h")):
        await clock.settle()
    await clock.advance("3h 30m")
    async with running(on.every("1h", catch_up="all", jitter="1s")):
        await clock.advance("1s")
    assert len(await scheduled()) == 3


async def test_another_version_that_leads_for_a_while_loses_nothing(running, clock, scheduled):
    hourly = on.every("1h", catch_up="all")
    async with running(hourly):
        await clock.settle()
    async with running(on.cron("0 0 1 1 *")):
        await clock.advance("2h")
    async with running(hourly):
        await clock.settle()
    assert len(await scheduled()) == 2


async def test_timers_that_are_gone_for_long_are_forgotten(running, clock, broker):
    async with running(on.every("1h")):
        await clock.settle()
    await clock.advance(FORGOTTEN_AFTER / SECOND + 1)
    async with running(on.every("2h")):
        await clock.settle()
    async with broker.lease(lease_name("orders")) as held:
        assert b"every 2 h" in held.state
        assert b"every 1 h" not in held.state


@pytest.mark.parametrize(
    "state",
    [b"\xff\x00", b"[1, 2]", b'{"orders.tick every 1 h": "yesterday"}', b'{"other": 5}', b"null"],
    ids=["bytes", "list", "text", "other", "null"],
)
async def test_a_state_of_something_else_counts_as_none(running, clock, broker, scheduled, state):
    async with broker.lease(lease_name("orders")) as held:
        await held.save(state)
    await clock.advance("30m")
    async with running(on.every("1h", catch_up="all")):
        await clock.advance("1h")
    assert await scheduled() == ["2026-01-01 01:00:00"]


async def test_a_moment_that_passes_while_an_older_version_fires_is_not_missed(
    running, clock, scheduled
):
    older = running(on.every("1d"))
    await older.__aenter__()
    await clock.settle()
    async with running(on.at("2026-01-01T00:04:00Z"), on.every("3m")):
        await clock.advance("5m")
        assert await scheduled() == []  # The older version holds the lease, and knows neither.
        await older.__aexit__(None, None, None)
        await clock.settle()
        # An interval skips what was missed, unless it is late by no more than a minute.
        assert await scheduled() == ["2026-01-01 00:04:00"]
        await clock.advance("1m")
        assert await scheduled() == ["2026-01-01 00:06:00"]
