"""What may be declared, and what is said of what may not."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from eventmesh.engine.context import Context
from eventmesh.engine.spec import function_info
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.service import Service
from eventmesh.triggers import on


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (on.every("10s"), "every 10 s"),
        (on.every(timedelta(days=1)), "every 1 d"),
        (on.every(10, start="2026-01-01T00:00+01:00"), "every 10 s from 2025-12-31T23:00:00+00:00"),
        (on.cron("0  3 * * *"), "cron 0 3 * * * (UTC)"),
        (on.cron("0 3 * * *", tz="Europe/Berlin"), "cron 0 3 * * * (Europe/Berlin)"),
        (on.at("2026-12-24T18:00:00+01:00"), "at 2026-12-24T18:00:00+01:00"),
        (on.at(datetime(2026, 12, 24, tzinfo=UTC)), "at 2026-12-24T00:00:00+00:00"),
    ],
)
def test_describes_itself(trigger, text):
    assert trigger.describe() == text


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [
        (on.every("10s"), "every"),
        (on.cron("0 3 * * *"), "cron"),
        (on.at("2026-12-24T18:00:00+01:00"), "at"),
    ],
)
def test_its_kind_is_what_its_messages_say(trigger, kind):
    orders = Service("orders")

    @orders.function(trigger)
    async def tick() -> None: ...

    assert trigger.kind == kind
    assert trigger.timer(tick).build_message(0, 0).trigger == kind
    assert [one["kind"] for one in function_info(tick.spec)["triggers"]] == [kind]


def test_missed_moments_are_skipped_unless_there_is_only_one():
    assert on.every("10s").catch_up == "skip"
    assert on.cron("0 3 * * *").catch_up == "skip"
    assert on.at("2026-12-24T18:00:00Z").catch_up == "once"


@pytest.mark.parametrize(
    ("period", "options", "message"),
    [
        ("50ms", {}, "on.every('50ms'): the shortest period is 100 ms"),
        ("often", {}, "the period of on.every() cannot be 'often'"),
        (-1, {}, "the period of on.every() cannot be -1"),
        ("10s", {"jitter": "20s"}, "on.every(jitter=…) is longer than the period of 10 s"),
        ("30d", {"jitter": "2d"}, "on.every(jitter=…) is more than a day"),
        ("10s", {"jitter": -1}, "jitter cannot be -1"),
        ("10s", {"catch_up": "some"}, "choose 'skip', 'once' or 'all'"),
        ("10s", {"start": "2026-01-01T00:00"}, "on.every(start=…) cannot be '2026-01-01T00:00:00'"),
    ],
)
def test_refuses_an_interval_with_advice(period, options, message):
    with refused(message):
        on.every(period, **options)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("0 3 * *", "has 4 fields: write five, minute, hour,"),
        ("0 0 3 * * *", "has 6 fields: write five, minute, hour,"),
        ("@daily", "such as '0 3 * * *' for 03:00 each day"),
        (3, "write the five fields as one string"),
        ("60 3 * * *", "the minute '60' is wrong; it can be 0 to 59"),
        ("*/0 3 * * *", "the minute '*/0' is wrong"),
        ("0 24 * * *", "the hour '24' is wrong; it can be 0 to 23"),
        ("0 3 32 * *", "the day of the month '32' is wrong"),
        ("0 3 * JANUARY *", "the month 'JANUARY' is wrong; it can be 1 to 12 or JAN to DEC"),
        ("0 3 * * MON-SUN", "the day of the week 'MON-SUN' is wrong"),
        ("0 3 30 2 *", "never fires: no month has such a day"),
    ],
)
def test_refuses_a_cron_expression_with_advice(expression, message):
    with refused(message):
        on.cron(expression)


@pytest.mark.parametrize(
    ("tz", "advice"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("Moon", "write a name such as 'Europe/Berlin'"),
        ("../etc/passwd", "write a name such as 'Europe/Berlin'"),
        ("Europe", "there is no such time zone"),
        ("", "write a name such as 'Europe/Berlin'"),
        (None, "there is no such time zone"),
    ],
)
def test_refuses_an_unknown_time_zone_with_advice(tz, advice):
    with refused(advice):
        on.cron("0 3 * * *", tz=tz)


def test_refuses_options_of_cron_with_advice():
    with refused("on.cron(jitter=…) is more than a day"):
        on.cron("0 3 * * *", jitter="2d")
    with refused("on.cron(catch_up='none'): choose"):
        on.cron("0 3 * * *", catch_up="none")


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("tomorrow", "on.at(…) cannot be 'tomorrow': write date, time and offset"),
        ("2026-12-24T18:00:00", "write '2026-12-24T18:00:00Z' for UTC"),
        (datetime(2026, 12, 24), "without an offset from UTC it is ambiguous"),  # noqa: DTZ001
        (1_800_000_000, "write a datetime with a time zone"),
    ],
)
def test_refuses_what_is_no_single_moment_with_advice(when, message):
    with refused(message):
        on.at(when)


def refused(message: str) -> pytest.RaisesExc[DeclarationError]:
    return pytest.raises(DeclarationError, match=re.escape(message))


def test_a_function_may_ask_for_nothing_the_event_or_defaults():
    orders = Service("orders")

    @orders.function(on.every("10s"))
    async def nothing(ctx: Context) -> None: ...

    @orders.function(on.every("10s"), on.cron("0 3 * * *"))
    async def event(event: Event) -> None: ...

    @orders.function(on.every("10s"))
    def defaults(limit: int = 10) -> None: ...

    assert len(orders.functions) == 3


def test_a_function_that_needs_a_payload_is_refused():
    orders = Service("orders")
    with pytest.raises(DeclarationError, match=r"orders.tick: a timer brings no payload.*limit"):

        @orders.function(on.every("10s"))
        async def tick(limit: int) -> None: ...


def test_a_function_cannot_have_one_schedule_twice():
    orders = Service("orders")
    with pytest.raises(DeclarationError, match=r"orders.tick: 'every 10 s' is listed twice"):

        @orders.function(on.every("10s"), on.every("10000ms", catch_up="all"))
        async def tick() -> None: ...
