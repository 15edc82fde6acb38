"""Fires functions by time: intervals, cron expressions, single moments."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.invocation import ASYNC
from eventmesh.model.value import value
from eventmesh.triggers.timer.leader import run_leaders
from eventmesh.triggers.timer.schedules import (
    DAY,
    SECOND,
    At,
    CatchUp,
    Cron,
    Every,
    Schedule,
    to_datetime,
    to_microseconds,
)
from eventmesh.triggers.timer.state import Timer, schedule_text

SHORTEST_PERIOD: Final = SECOND // 10
LONGEST_JITTER: Final = DAY

_FIELDS: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of the month", "1 to 31, L (the last one) or LW (the last weekday)"),
    ("month", "1 to 12 or JAN to DEC"),
    ("day of the week", "0 to 7 or SUN to SAT (0 and 7 are Sunday), MON#2 or 5L (the last Friday)"),
)
_FORMS: Final = "alone, as a range '1-5', with a step '*/5', as a list '1,3,5', or '*'"


@value
class TimerTrigger:
    """Fires the function at the moments of a schedule, once across all replicas of its service.

    `jitter`, in microseconds, is the longest time by which a run is later than its moment.
    `catch_up` says what happens to moments that passed while no replica, or no broker, was there.
    """

    schedule: Schedule
    catch_up: CatchUp = "skip"
    jitter: int = 0

    def __post_init__(self) -> None:
        if self.catch_up not in get_args(CatchUp):
            raise DeclarationError(
                f"on.{self.schedule.kind}(catch_up={self.catch_up!r}): choose 'skip', 'once' or "
                "'all'"
            )
        if self.jitter > LONGEST_JITTER:
            raise DeclarationError(
                f"on.{self.schedule.kind}(jitter=…) is more than a day: choose less"
            )
        if isinstance(self.schedule, Every) and self.jitter > self.schedule.period:
            raise DeclarationError(
                f"on.every(jitter=…) is longer than the period of {self.schedule.text}: runs would "
                "overtake each other; choose a jitter of one period at most"
            )

    @property
    def kind(self) -> str:
        """The schedule's: "every", "cron" or "at", as in `Context.trigger`."""
        return self.schedule.kind

    def describe(self) -> str:
        return schedule_text(self.schedule)

    def check(self, function: FunctionSpec) -> None:
        """Raise DeclarationError for a function that needs a payload, or has the timer twice."""
        timers = [timer for timer in function.triggers if isinstance(timer, TimerTrigger)]
        texts = [timer.describe() for timer in timers]
        if texts.count(self.describe()) > 1:
            raise DeclarationError(
                f"{function.full_name}: '{self.describe()}' is listed twice; keep one of them"
            )
        sample = self.timer(function).build_message(moment=0, now=0)
        try:
            function.schema.check_payload(invocation_from(sample, function.full_name, ASYNC))
        except PayloadInvalid as error:
            raise DeclarationError(
                f"{function.full_name}: a timer brings no payload, but the function needs one "
                f"({error}): give its parameters defaults, or take an Event"
            ) from None

    @classmethod
    def source(
        cls, bound: Sequence[tuple[FunctionSpec, TimerTrigger]], context: SourceContext
    ) -> AbstractAsyncContextManager[None]:
        services: dict[str, list[Timer]] = defaultdict(list)
        for function, trigger in bound:
            services[function.service].append(trigger.timer(function))
        return run_leaders(services, context)

    def timer(self, function: FunctionSpec) -> Timer:
        """Return the timer that fires `function`."""
        return Timer(function.full_name, self.schedule, self.catch_up, self.jitter)


def build_every(period: Duration, start: datetime | str | None) -> Every:
    """Return the schedule of a period. Raises DeclarationError for one that is too short."""
    length = duration_microseconds(period, "the period of on.every()")
    if length < SHORTEST_PERIOD:
        raise DeclarationError(
            f"on.every({period!r}): the shortest period is 100 ms; do several things in one run, "
            "or take them from a queue"
        )
    return Every(
        length,
        None if start is None else to_microseconds(parse_datetime(start, "on.every(start=…)")),
    )


def build_cron(expression: str, tz: str) -> Cron:
    """Return the schedule of a cron expression.

    Raises DeclarationError, which names the field that is wrong.
    """
    if not isinstance(expression, str):
        raise DeclarationError(
            f"on.cron({expression!r}): write the five fields as one string, such as '0 3 * * *'"
        )
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        names = ", ".join(name for name, _ in _FIELDS)
        raise DeclarationError(
            f"on.cron({expression!r}) has {len(fields)} fields: write five, {names}, such as "
            "'0 3 * * *' for 03:00 each day; for seconds there is on.every()"
        )
    for index, (name, allowed) in enumerate(_FIELDS):
        alone = ["*"] * len(_FIELDS)
        alone[index] = fields[index]
        if not _fires(" ".join(alone)):
            raise DeclarationError(
                f"on.cron({expression!r}): the {name} {fields[index]!r} is wrong; it can be "
                f"{allowed}, {_FORMS}"
            )
    if not _fires(" ".join(fields)):
        raise DeclarationError(
            f"on.cron({expression!r}) never fires: no month has such a day; change the day or the "
            "month"
        )
    return Cron(" ".join(fields), _load_zone(tz))


def build_at(when: datetime | str) -> At:
    """Return the schedule of one moment. Raises DeclarationError for one without a time zone."""
    return At(parse_datetime(when, "on.at(…)"))


def duration_microseconds(length: Duration, what: str) -> int:
    """Convert a duration to microseconds; `what` names it in the error."""
    return round(seconds(length, what) * SECOND)


def parse_datetime(when: datetime | str, what: str) -> datetime:
    """Return a datetime, or parse the text of one; it must have an offset from UTC.

    `what` names it in the DeclarationError that is raised otherwise.
    """
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            raise DeclarationError(
                f"{what} cannot be {when!r}: write date, time and offset in ISO 8601 form, "
                "such as '2026-12-24T18:00:00+01:00'"
            ) from None
    if not isinstance(when, datetime):
        raise DeclarationError(
            f"{what} cannot be {when!r}: write a datetime with a time zone, or a string such as "
            "'2026-12-24T18:00:00+01:00'"
        )
    if when.utcoffset() is None:
        raise DeclarationError(
            f"{what} cannot be {when.isoformat()!r}: without an offset from UTC it is ambiguous; "
            f"write '{when.isoformat()}Z' for UTC, '{when.isoformat()}+01:00', or a datetime with "
            "tzinfo"
        )
    return when


def _fires(expression: str) -> bool:
    # cronsim gives up after 50 years without a match, which no date that exists needs.
    try:
        return next(CronSim(expression, to_datetime(0)), None) is not None
    except CronSimError:
        return False


def _load_zone(tz: Any) -> ZoneInfo:
    try:
        return ZoneInfo(tz)
    # A value that is not a name raises TypeError or ValueError, and a directory of names OSError.
    except (KeyError, TypeError, ValueError, OSError):
        near = difflib.get_close_matches(str(tz), sorted(available_timezones()), n=1)
        advice = f"did you mean {near[0]!r}?" if near else "write a name such as 'Europe/Berlin'"
        raise DeclarationError(
            f"on.cron(tz={tz!r}): there is no such time zone: {advice}"
        ) from None
