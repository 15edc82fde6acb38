"""What the leader knows of the timers of a service: where each is, when it is due, which rest."""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Final

from eventmesh.engine.timers.access import TimerReport, no_timer
from eventmesh.engine.timers.messages import Request
from eventmesh.model.errors import PayloadInvalid
from eventmesh.triggers.timer.schedules import Microseconds
from eventmesh.triggers.timer.state import (
    FIRINGS_TOLD,
    Marks,
    Timer,
    merge_positions,
    schedule_text,
)


class TimerBook:
    """The timers of one service by their keys. Nothing here reads a clock."""

    def __init__(self, timers: Iterable[Timer]) -> None:
        self.timers: Final = {timer.key: timer for timer in timers}
        self.positions: dict[str, Microseconds] = {}
        """Up to which moment each was dealt with."""
        self.paused: dict[str, Microseconds] = {}
        """Since when each of these does not fire."""
        self._fired: defaultdict[str, deque[Microseconds]] = defaultdict(_no_firings)
        self._due_heap: list[tuple[Microseconds, str]] = []
        """When something is due, and of which timer."""

    def load(self, stored: Marks, now: Microseconds) -> None:
        """Take what the last leader has saved; nothing is due until it is scheduled."""
        self.positions = merge_positions(self.positions, stored.positions, self.timers.keys(), now)
        self.paused = stored.paused
        for key, moment in stored.fired.items():
            if moment not in self._fired[key]:
                self._fired[key].append(moment)
        self._due_heap = []

    def dump(self, now: Microseconds) -> Marks:
        """Return what is to be saved."""
        for key in self.paused.keys() & self.timers.keys():
            # As long as a pause is known, it is not old: see `merge_positions`.
            self.positions[key] = max(self.positions[key], now)
        known = self.positions.keys()
        return Marks(
            self.positions,
            {key: since for key, since in self.paused.items() if key in known},
            {key: last[-1] for key, last in self._fired.items() if last and key in known},
        )

    @property
    def next_due(self) -> Microseconds | None:
        """When something is due; None if nothing ever is."""
        return self._due_heap[0][0] if self._due_heap else None

    def pop_due(self, now: Microseconds, most: int) -> Sequence[Timer]:
        """Return timers that are due, at most so many: each is to be scheduled again."""
        timers: list[Timer] = []
        while self._due_heap and self._due_heap[0][0] <= now and len(timers) < most:
            timers.append(self.timers[heapq.heappop(self._due_heap)[1]])
        return timers

    def schedule(self, timer: Timer, moment: Microseconds | None) -> None:
        """Have a timer be due at a moment, unless there is none."""
        if moment is not None:
            heapq.heappush(self._due_heap, (moment, timer.key))

    def schedule_next(self, timer: Timer) -> None:
        """Have a timer be due at its next moment, unless it is paused."""
        if timer.key not in self.paused:
            self.schedule(timer, next(timer.schedule.after(self.positions[timer.key]), None))

    def note_fired(self, timer: Timer, moment: Microseconds) -> None:
        """Remember that a timer has fired for a moment."""
        self._fired[timer.key].append(moment)

    def choose(self, asked: Request) -> Sequence[Timer]:
        """Return the timers that are meant. Raises FunctionNotFound and PayloadInvalid."""
        if asked.verb == "list":
            return [self.timers[key] for key in sorted(self.timers)]
        chosen = [
            timer
            for timer in self.timers.values()
            if timer.function == asked.function
            and asked.schedule in ("", schedule_text(timer.schedule))
        ]
        if not chosen:
            raise no_timer(asked.function, asked.schedule)
        if asked.verb == "run" and len(chosen) > 1:
            names = ", ".join(repr(schedule_text(timer.schedule)) for timer in chosen)
            raise PayloadInvalid(f"{asked.function} has several timers: say which of {names}")
        return chosen

    def pause(self, timer: Timer, now: Microseconds) -> None:
        """Have a timer fire no more; one that is paused stays so since then."""
        self.paused.setdefault(timer.key, now)
        self._forget_due(timer)

    def resume(self, timer: Timer, now: Microseconds) -> None:
        """Have a timer fire from now on, if it is paused: it has missed nothing."""
        if self.paused.pop(timer.key, None) is None:
            return
        self._forget_due(timer)
        self.positions[timer.key] = max(self.positions[timer.key], now)
        self.schedule_next(timer)

    def report(self, timer: Timer, now: Microseconds) -> TimerReport:
        """Tell of a timer what others may know."""
        paused = self.paused.get(timer.key)
        after = max(self.positions[timer.key], now if paused is not None else 0)
        return timer.report(after, self._fired.get(timer.key, ()), paused)

    def _forget_due(self, timer: Timer) -> None:
        self._due_heap = [each for each in self._due_heap if each[1] != timer.key]
        heapq.heapify(self._due_heap)


def _no_firings() -> deque[Microseconds]:
    return deque(maxlen=FIRINGS_TOLD)
