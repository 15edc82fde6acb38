"""The arithmetic of schedules, without a clock or a broker."""

from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.triggers.timer.schedules import (
    DAY,
    HOUR,
    MAX_CATCH_UP,
    MINUTE,
    SECOND,
    At,
    Cron,
    Due,
    Every,
    compute_due,
    to_datetime,
    to_microseconds,
)

NOON = to_microseconds(datetime(2026, 1, 1, 12, tzinfo=UTC))


def local(schedule, since: str, count: int) -> list[str]:
    """The first moments after a local time, on the schedule's own clocks."""
    start = to_microseconds(datetime.fromisoformat(since).replace(tzinfo=schedule.zone))
    moments = islice(schedule.after(start), count)
    return [
        to_datetime(moment, schedule.zone).isoformat(" ", timespec="minutes") for moment in moments
    ]


def berlin(expression: str) -> Cron:
    return Cron(expression, ZoneInfo("Europe/Berlin"))


def new_york(expression: str) -> Cron:
    return Cron(expression, ZoneInfo("America/New_York"))


def utc(expression: str) -> Cron:
    return Cron(expression, ZoneInfo("UTC"))


class TestEvery:
    def test_counts_from_the_epoch(self):
        moments = Every(7 * SECOND).after(NOON)
        assert [moment % (7 * SECOND) for moment in islice(moments, 3)] == [0, 0, 0]

    def test_a_moment_is_not_after_itself(self):
        assert next(Every(MINUTE).after(NOON)) == NOON + MINUTE
        assert next(Every(MINUTE).after(NOON - 1)) == NOON

    def test_the_start_is_the_first_moment(self):
        schedule = Every(10 * SECOND, start=NOON + 3)
        assert next(schedule.after(0)) == NOON + 3
        assert next(schedule.after(NOON + 3)) == NOON + 3 + 10 * SECOND

    def test_fractions_do_not_add_up_to_a_drift(self):
        schedule = Every(SECOND // 10)
        assert next(islice(schedule.after(NOON), 863_999, None)) == NOON + DAY

    @pytest.mark.parametrize(
        ("period", "text"),
        [
            (SECOND // 10, "0.1 s"),
            (SECOND * 3 // 2, "1.5 s"),
            (10 * SECOND, "10 s"),
            (90 * SECOND, "90 s"),
            (5 * MINUTE, "5 m"),
            (6 * HOUR, "6 h"),
            (14 * DAY, "14 d"),
        ],
    )
    def test_says_its_period_in_the_largest_unit_that_fits(self, period, text):
        assert Every(period).text == text

    def test_says_its_start(self):
        assert Every(10 * SECOND, NOON).text == "10 s from 2026-01-01T12:00:00+00:00"


class TestCron:
    def test_leap_days(self):
        assert local(utc("0 12 29 2 *"), "2096-01-01", 2) == [
            "2096-02-29 12:00+00:00",
            "2104-02-29 12:00+00:00",
        ]

    def test_the_last_day_of_a_month(self):
        assert local(utc("0 0 L * *"), "2028-02-01", 2) == [
            "2028-02-29 00:00+00:00",
            "2028-03-31 00:00+00:00",
        ]

    def test_either_day_suffices_when_both_are_given(self):
        assert local(utc("0 0 13 * FRI"), "2026-11-10", 4) == [
            "2026-11-13 00:00+00:00",
            "2026-11-20 00:00+00:00",
            "2026-11-27 00:00+00:00",
            "2026-12-04 00:00+00:00",
        ]

    def test_both_days_must_fit_when_one_begins_with_a_star(self):
        assert local(utc("0 0 */2 * MON"), "2026-11-01", 2) == [
            "2026-11-09 00:00+00:00",
            "2026-11-23 00:00+00:00",
        ]

    def test_names_ranges_steps_and_lists(self):
        assert local(utc("0 9-17/4 * JAN,mar MON-WED"), "2026-01-26 10:00", 5) == [
            "2026-01-26 13:00+00:00",
            "2026-01-26 17:00+00:00",
            "2026-01-27 09:00+00:00",
            "2026-01-27 13:00+00:00",
            "2026-01-27 17:00+00:00",
        ]

    def test_a_time_that_the_clocks_skip_fires_when_they_have(self):
        assert local(berlin("30 2 * * *"), "2026-03-28 12:00", 2) == [
            "2026-03-29 03:00+02:00",
            "2026-03-30 02:30+02:00",
        ]
        assert local(new_york("30 2 * * *"), "2026-03-07 12:00", 2) == [
            "2026-03-08 03:00-04:00",
            "2026-03-09 02:30-04:00",
        ]

    def test_several_times_that_the_clocks_skip_fire_once_together(self):
        assert local(berlin("0,15,45 2,3 * * *"), "2026-03-28 12:00", 3) == [
            "2026-03-29 03:00+02:00",
            "2026-03-29 03:15+02:00",
            "2026-03-29 03:45+02:00",
        ]

    def test_a_time_that_comes_twice_fires_the_first_time(self):
        assert local(berlin("30 2 * * *"), "2026-10-24 12:00", 2) == [
            "2026-10-25 02:30+02:00",
            "2026-10-26 02:30+01:00",
        ]
        assert local(new_york("30 1 * * *"), "2026-10-31 12:00", 2) == [
            "2026-11-01 01:30-04:00",
            "2026-11-02 01:30-05:00",
        ]

    def test_what_began_in_the_repeated_hour_does_not_fire_for_the_first_pass(self):
        second_pass = to_microseconds(datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
        schedule = berlin("30 2 * * *")
        assert to_datetime(next(schedule.after(second_pass)), schedule.zone) == datetime(
            2026, 10, 26, 2, 30, tzinfo=schedule.zone
        )

    def test_a_star_in_minute_or_hour_keeps_real_time_when_clocks_go_forward(self):
        assert local(berlin("30 * * * *"), "2026-03-29 01:00", 2) == [
            "2026-03-29 01:30+01:00",
            "2026-03-29 03:30+02:00",
        ]
        # Of a step of hours, the one that does not exist is left out.
        assert local(new_york("30 */2 * * *"), "2026-03-08 00:00", 2) == [
            "2026-03-08 00:30-05:00",
            "2026-03-08 04:30-04:00",
        ]

    def test_a_star_in_minute_or_hour_keeps_real_time_when_clocks_go_back(self):
        assert local(berlin("*/30 2 * * *"), "2026-10-25 00:00", 5) == [
            "2026-10-25 02:00+02:00",
            "2026-10-25 02:30+02:00",
            "2026-10-25 02:00+01:00",
            "2026-10-25 02:30+01:00",
            "2026-10-26 02:00+01:00",
        ]
        assert local(new_york("30 * * * *"), "2026-11-01 01:00", 3) == [
            "2026-11-01 01:30-04:00",
            "2026-11-01 01:30-05:00",
            "2026-11-01 02:30-05:00",
        ]

    @given(
        st.sampled_from(["30 2 * * *", "15,45 0-4 * * *", "*/20 2 * * *", "0 */2 * * *"]),
        st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
        # From before New York's clocks change to after Berlin's, and the other way round.
        st.sampled_from([datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)]),
        st.integers(0, 24 * DAY),
        st.integers(0, 30),
    )
    def test_its_moments_do_not_depend_on_where_one_begins(
        self, expression, zone, day, since, later
    ):
        schedule = Cron(expression, ZoneInfo(zone))
        start = to_microseconds(day) + since
        moments = list(islice(schedule.after(start), 40))
        assert moments == sorted(set(moments))
        assert list(islice(schedule.after(moments[later]), 39 - later)) == moments[later + 1 :]


class TestDue:
    hourly = Every(HOUR)

    def test_nothing_before_the_moment(self):
        assert compute_due(self.hourly, NOON, NOON + HOUR - 1, "all") == Due([], False, NOON + HOUR)

    @pytest.mark.parametrize("catch_up", ["skip", "once", "all"])
    def test_a_moment_that_has_come_is_due_whatever_the_policy(self, catch_up):
        assert compute_due(self.hourly, NOON, NOON + HOUR, catch_up) == Due(
            [NOON + HOUR], False, NOON + 2 * HOUR
        )

    def test_late_is_not_missed(self):
        now = NOON + HOUR + MINUTE
        assert compute_due(self.hourly, NOON, now, "skip").moments == [NOON + HOUR]
        assert compute_due(self.hourly, NOON, now + 1, "skip") == Due([], True, NOON + 2 * HOUR)

    def test_once_is_the_latest_of_the_missed(self):
        now = NOON + 3 * HOUR + 20 * MINUTE
        assert compute_due(self.hourly, NOON, now, "once") == Due(
            [NOON + 3 * HOUR], True, NOON + 4 * HOUR
        )

    def test_all_has_an_end(self):
        now = NOON + 5_000 * HOUR
        moments = [now - HOUR * age for age in reversed(range(MAX_CATCH_UP))]
        assert compute_due(self.hourly, NOON, now, "all") == Due(moments, True, now + HOUR)

    def test_a_clock_that_went_back_makes_nothing_due(self):
        assert compute_due(self.hourly, NOON, NOON - DAY, "all") == Due([], False, NOON + HOUR)

    def test_a_single_moment_has_none_that_follows(self):
        schedule = At(to_datetime(NOON))
        assert compute_due(schedule, NOON - 1, NOON, "once") == Due([NOON], False, None)
        assert compute_due(schedule, NOON, NOON + DAY, "once") == Due([], False, None)

    def test_a_cron_of_every_minute_after_years(self):
        now = NOON + 3653 * DAY
        due_now = compute_due(utc("* * * * *"), NOON, now, "all")
        assert due_now.moments[0] == now - (MAX_CATCH_UP - 1) * MINUTE
        assert due_now.moments[-1] == now
        assert len(due_now.moments) == MAX_CATCH_UP

    @given(
        st.one_of(
            st.integers(SECOND, 2 * DAY).map(Every),
            st.sampled_from(["*/7 1-3 * * *", "0 5 * * MON", "30 2 1 * *", "0 0 13 * 5"]).map(utc),
        ),
        st.integers(0, int(timedelta(days=400).total_seconds() * SECOND)),
    )
    def test_the_latest_are_the_end_of_the_list_of_all(self, schedule, absence):
        now = NOON + absence
        reached = takewhile(lambda moment: moment <= now, schedule.after(NOON))
        # Enough for the rarest of these schedules; the frequent ones are cut by "all" too.
        everything = list(islice(reached, 20_000))
        due_now = compute_due(schedule, NOON, now, "all")
        if len(everything) < 20_000:
            assert due_now.moments == everything[-MAX_CATCH_UP:]
        assert len(due_now.moments) <= MAX_CATCH_UP
        assert due_now.following == next(schedule.after(now))
