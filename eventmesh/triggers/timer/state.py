"""A timer as its leader sees it: its messages, and its position in the lease's state."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from typing import Any, Final, cast

import orjson

from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import PayloadTooLarge
from eventmesh.model.event import TIMER_TYPE, event_headers
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


def load_positions(state: bytes) -> dict[str, Microseconds]:
    """Read from a lease's state up to which moment each timer was dealt with, by its key.

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


def dump_positions(positions: dict[str, Microseconds]) -> bytes:
    """Write the state to save; `load_positions` reads it."""
    return orjson.dumps(positions)


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
