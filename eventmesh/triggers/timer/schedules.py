"""When timers fire: schedules as data, and the arithmetic over them.

A moment is a whole number of microseconds since the epoch, so that all replicas compute the same
one and no rounding adds up. Nothing here reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from typing import ClassVar, Final, Literal, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from cronsim import CronSim

from eventmesh.model.value import value

Microseconds: TypeAlias = int
"""Microseconds since the epoch."""

CatchUp: TypeAlias = Literal["skip", "once", "all"]
"""What happens to moments that no replica fired in time: see docs/guide/timers.md."""

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

MISSED_AFTER: Final = MINUTE
"""A moment is late up to this long, and missed after it: a fail-over takes some seconds."""

MAX_CATCH_UP: Final = 1_000
"""Missed moments of one timer that "all" fires, the latest ones; the older are dropped."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def to_microseconds(when: datetime) -> Microseconds:
    """Convert a datetime with a time zone."""
    return (when - _EPOCH) // _MICROSECOND


def to_datetime(moment: Microseconds, zone: tzinfo = UTC) -> datetime:
    """Convert a moment to a datetime in a time zone."""
    return (_EPOCH + timedelta(microseconds=moment)).astimezone(zone)


class Schedule(Protocol):
    """Moments, as frozen data. Two schedules of one kind with the same `text` are equal."""

    kind: ClassVar[str]

    @property
    def text(self) -> str: ...

    def after(self, moment: Microseconds) -> Iterator[Microseconds]:
        """Yield the moments after that one, ascending."""
        ...


@value
class Every:
    """Moments one `period` apart: `start` is the first; without it they count from the epoch."""

    kind: ClassVar[str] = "every"

    period: int
    start: Microseconds | None = None

    @property
    def text(self) -> str:
        start = "" if self.start is None else f" from {to_datetime(self.start).isoformat()}"
        return _duration(self.period) + start

    def after(self, moment: Microseconds) -> Iterator[Microseconds]:
        anchor = self.start or 0
        periods = (moment - anchor) // self.period + 1
        # There is no moment before the start; without a start they go back before the epoch too.
        if self.start is not None:
            periods = max(periods, 0)
        return count(anchor + periods * self.period, self.period)


@value
class Cron:
    """The moments that fit a cron expression of five fields on the clocks of a time zone."""

    kind: ClassVar[str] = "cron"

    expression: str
    zone: ZoneInfo

    @property
    def text(self) -> str:
        return f"{self.expression} ({self.zone.key})"

    def after(self, moment: Microseconds) -> Iterator[Microseconds]:
        for match in CronSim(self.expression, to_datetime(moment, self.zone)):
            matched = to_microseconds(match)
            # When clocks repeat an hour, cronsim starts with moments of the first pass again.
            if matched > moment:
                yield matched


@value
class At:
    """One moment."""

    kind: ClassVar[str] = "at"

    when: datetime

    @property
    def text(self) -> str:
        return self.when.isoformat()

    def after(self, moment: Microseconds) -> Iterator[Microseconds]:
        when = to_microseconds(self.when)
        if when > moment:
            yield when


@value
class Due:
    """What is due of a timer: it fires for `moments`, ascending, and then waits for `following`.

    `dropped` says that earlier moments were left out; `following` is None after the last moment.
    """

    moments: list[Microseconds]
    dropped: bool
    following: Microseconds | None


def compute_due(
    schedule: Schedule, position: Microseconds, now: Microseconds, catch_up: CatchUp
) -> Due:
    """Return what is due at `now` of a timer that has been dealt with up to `position`."""
    most = MAX_CATCH_UP if catch_up == "all" else 1
    # One more than wanted, to learn whether there are more.
    reached, following = _latest(schedule, position, now, most + 1)
    moments = reached[-most:]
    if catch_up == "skip":
        moments = [moment for moment in moments if now - moment <= MISSED_AFTER]
    return Due(moments, len(moments) < len(reached), following)


def _latest(
    schedule: Schedule, position: Microseconds, now: Microseconds, most: int
) -> tuple[list[Microseconds], Microseconds | None]:
    """Return the latest `most` moments after `position` up to `now`, and the first after `now`."""
    reached: list[Microseconds] = []
    for moment in schedule.after(position):
        if moment > now:
            return reached, moment
        reached.append(moment)
        if len(reached) == most:
            break
    else:
        return reached, None
    return _latest_of_many(schedule, position, now, most)


def _latest_of_many(
    schedule: Schedule, position: Microseconds, now: Microseconds, most: int
) -> tuple[list[Microseconds], Microseconds | None]:
    # After a long absence this starts near the end: a cron of every minute has half a million
    # moments a year. Schedules only go forward, so the window is widened until it holds enough.
    window = MINUTE
    while True:
        since = max(now - window, position)
        latest = deque[Microseconds](maxlen=most)
        following = None
        for moment in schedule.after(since):
            if moment > now:
                following = moment
                break
            latest.append(moment)
        if len(latest) == most or since == position:
            return list(latest), following
        window *= 4


def _duration(microseconds: int) -> str:
    for unit, length in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if microseconds % length == 0:
            return f"{microseconds // length} {unit}"
    seconds, fraction = divmod(microseconds, SECOND)
    return f"{seconds}.{fraction:06}".rstrip("0").rstrip(".") + " s"
