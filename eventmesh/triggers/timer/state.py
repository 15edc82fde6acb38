"""A timer as its leader sees it: its messages, and its position in the lease's state."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable
from dataclasses import field, replace
from itertools import islice
from typing import Any, Final, cast

import orjson

from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.engine.timers.access import TimerReport
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.event import TIMER_TYPE, event_headers
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.value import value
from eventmesh.triggers.timer.schedules import (
    DAY,
    SECOND,
    At,
    CatchUp,
    Microseconds,
    Schedule,
    to_microseconds,
)

FORGOTTEN_AFTER: Final = 7 * DAY
"""How long the position of a timer is kept that the leader does not know.

It is not dropped at once: while a new version of a service is rolled out, a replica of the old one
may be the leader for a moment, and does not know the new timers.
"""

LATEST: Final = 4_102_444_800 * SECOND
"""The beginning of the year 2100."""

FIRINGS_TOLD: Final = 5
"""Moments of a timer, past and to come, that are told to whoever asks."""

_PAUSED: Final = "paused "
_FIRED: Final = "fired "
"""How other entries of the state begin. No key of a timer does: its first word has a dot. A leader
of an older version takes them for positions of timers that it does not know, and keeps them."""

_HASH_BITS: Final = 128

_log: Final = logging.getLogger(__name__)


@value
class Timer:
    """A schedule that fires a function. `jitter` is in microseconds."""

    function: str
    schedule: Schedule
    catch_up: CatchUp
    jitter: int

    @property
    def key(self) -> str:
        """The timer's identity across restarts: with another schedule it is another timer."""
        return f"{self.function} {schedule_text(self.schedule)}"

    def initial_position(self, now: Microseconds) -> Microseconds:
        """Return the moment up to which a timer that was never seen before counts as dealt with.

        It has missed nothing; but with "all" a single moment fires although it is in the past.
        """
        if self.catch_up == "all" and isinstance(self.schedule, At):
            return min(now, to_microseconds(self.schedule.when) - 1)
        return now

    def report(
        self, after: Microseconds, fired: Iterable[Microseconds], paused: Microseconds | None
    ) -> TimerReport:
        """Tell of it what others may know: moments after `after`, and those that were `fired`."""
        return TimerReport(
            self.function,
            self.schedule.kind,
            schedule_text(self.schedule),
            self.catch_up,
            self.jitter / SECOND,
            tuple(each / SECOND for each in islice(self.schedule.after(after), FIRINGS_TOLD)),
            tuple(sorted((each / SECOND for each in fired), reverse=True)),
            None if paused is None else paused / SECOND,
        )

    def build_extra_message(self, now: Microseconds) -> Message:
        """Return the message for a firing that somebody asked for, which is due at once."""
        return replace(self.build_message(now, now), id=new_id(), timestamp=now / SECOND)

    def build_message(self, moment: Microseconds, now: Microseconds) -> Message:
        """Return the message for one moment, made at `now`; its id depends on the moment alone.

        Its timestamp is when it is to run: a part of the jitter after the moment, or `now` if that
        has passed. Which part depends on the id, so that every replica computes the same time.
        """
        id = _hash(f"{self.key} {moment}")
        shift = int(id, 16) * self.jitter >> _HASH_BITS
        return Message(
            body=b"null",
            id=id,
            timestamp=max(moment + shift, now) / SECOND,
            headers=event_headers(
                f"/timers/{self.function}", moment / SECOND, subject=schedule_text(self.schedule)
            ),
            trigger=self.schedule.kind,
            type=TIMER_TYPE,
        )


def schedule_text(schedule: Schedule) -> str:
    """Return the schedule in a few words: "every 10 s"."""
    return f"{schedule.kind} {schedule.text}"


@value
class Marks:
    """What a lease's state says of timers, by their keys: moments.

    `positions` say up to when each was dealt with, `paused` since when it is paused, and `fired`
    for which moment it fired last.
    """

    positions: dict[str, Microseconds] = field(default_factory=dict[str, Microseconds])
    paused: dict[str, Microseconds] = field(default_factory=dict[str, Microseconds])
    fired: dict[str, Microseconds] = field(default_factory=dict[str, Microseconds])


def load_marks(state: bytes) -> Marks:
    """Read a lease's state; what `load_positions` leaves out is left out here."""
    marks = Marks()
    for name, moment in load_positions(state).items():
        if name.startswith(_PAUSED):
            marks.paused[name.removeprefix(_PAUSED)] = moment
        elif name.startswith(_FIRED):
            marks.fired[name.removeprefix(_FIRED)] = moment
        else:
            marks.positions[name] = moment
    return marks


def dump_marks(marks: Marks) -> bytes:
    """Write the state to save; `load_marks` reads it."""
    return orjson.dumps(
        marks.positions
        | {f"{_PAUSED}{key}": moment for key, moment in marks.paused.items()}
        | {f"{_FIRED}{key}": moment for key, moment in marks.fired.items()}
    )


def load_positions(state: bytes) -> dict[str, Microseconds]:
    """Read the entries of a lease's state: a moment each, by its name.

    A state that cannot be read is logged, and counts as empty; so does a position that is no
    moment of this century, with which no schedule could go on.
    """
    try:
        check_nodes(state)
        positions = orjson.loads(state or b"{}")
    except (PayloadTooLarge, orjson.JSONDecodeError):
        positions = None
    if not isinstance(positions, dict):
        _log.warning("the saved state of timers cannot be read and is not used: %.100r", state)
        return {}
    entries = cast(dict[str, Any], positions)
    # Compares the type itself: True and False are ints too.
    return {
        key: position
        for key, position in entries.items()
        if type(position) is int and 0 <= position < LATEST
    }


def merge_positions(
    positions: dict[str, Microseconds],
    stored: dict[str, Microseconds],
    keys: Collection[str],
    now: Microseconds,
) -> dict[str, Microseconds]:
    """Return the greater position of each timer, without timers that were removed long ago.

    `keys` are the timers that the leader knows.
    """
    merged = {key: max(stored.get(key, at), at) for key, at in (stored | positions).items()}
    return {
        key: position
        for key, position in merged.items()
        if key in keys or position >= now - FORGOTTEN_AFTER
    }


def _hash(text: str) -> str:
    """Return 32 hexadecimal digits, the form of every id."""
    return hashlib.sha256(text.encode()).hexdigest()[: _HASH_BITS // 4]
