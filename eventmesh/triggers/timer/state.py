"""What a timer is to whoever fires it: its messages, and its place in the lease's state."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection
from typing import Any, Final, cast

import orjson

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
    moment_of,
)

FORGOTTEN_AFTER: Final = 7 * DAY
"""How long the position of a timer is kept that the holder of the lease does not know.

It is not dropped at once: while a new version of a service is rolled out, one that does not know
its new timers may hold the lease for a moment.
"""

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
        """What it is known by across restarts: with another schedule it is another timer."""
        return f"{self.function} {schedule_text(self.schedule)}"

    def first_position(self, now: Microseconds) -> Microseconds:
        """Up to where it counts as dealt with if it was never seen before.

        It has missed nothing then; only "all" has a single moment fire although it is over.
        """
        if self.catch_up == "all" and isinstance(self.schedule, At):
            return min(now, moment_of(self.schedule.when) - 1)
        return now

    def firing(self, moment: Microseconds, now: Microseconds) -> Message:
        """The message for one moment, made at `now`; its id depends on the moment alone.

        Its timestamp is when it is to run: part of the jitter after its moment, or `now` if that is
        over. Which part depends on the id, so that whoever fires it means the same time.
        """
        id = _hash(f"{self.key} {moment}")
        shift = int(id, 16) * self.jitter >> _HASH_BITS
        return Message(
            b"null",
            id,
            max(moment + shift, now) / SECOND,
            headers=event_headers(
                f"/timers/{self.function}", moment / SECOND, subject=schedule_text(self.schedule)
            ),
            trigger=self.schedule.kind,
            type=TIMER_TYPE,
        )


def schedule_text(schedule: Schedule) -> str:
    """The schedule in a few words: "every 10 s"."""
    return f"{schedule.kind} {schedule.text}"


def positions_from(state: bytes) -> dict[str, Microseconds]:
    """Up to where each timer was dealt with, by its key, as a lease's state has it.

    What is no such state counts as none, which is logged.
    """
    try:
        positions = orjson.loads(state or b"{}")
    except orjson.JSONDecodeError:
        positions = None
    if not isinstance(positions, dict):
        _log.warning("the saved state of timers cannot be read and is not used: %.100r", state)
        return {}
    entries = cast(dict[str, Any], positions)
    # The type itself: True and False are ints too.
    return {key: position for key, position in entries.items() if type(position) is int}


def state_from(positions: dict[str, Microseconds]) -> bytes:
    """The state to save; `positions_from` reads it."""
    return orjson.dumps(positions)


def merge_positions(
    positions: dict[str, Microseconds],
    stored: dict[str, Microseconds],
    keys: Collection[str],
    now: Microseconds,
) -> dict[str, Microseconds]:
    """What is known of either: the greater position of each timer, without long removed ones."""
    merged = {key: max(stored.get(key, at), at) for key, at in (stored | positions).items()}
    return {
        key: position
        for key, position in merged.items()
        if key in keys or position >= now - FORGOTTEN_AFTER
    }


def _hash(text: str) -> str:
    """As an id is: 32 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()[: _HASH_BITS // 4]
