"""Remembers the runs that go on, and a bounded number of those that have ended."""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import Any, Final, TypeAlias

from eventmesh.aio.clock import Clock
from eventmesh.middleware.outcome import SUCCESS, name_error, name_outcome
from eventmesh.model.invocation import Invocation
from eventmesh.model.runs import (
    MAX_PAYLOADS,
    MAX_TEXT,
    MAX_TOLD,
    DelayedRun,
    Payload,
    Question,
    Run,
    Sight,
)
from eventmesh.model.trace_context import find_correlation_id

KEPT: Final = 500
"""Runs that are remembered after they have ended: so many that failed, and so many that did not."""

SAMPLED: Final = 100
"""Successes a second that are remembered, the first of each second; failures always are."""

KEPT_DELAYED: Final = 1_000

ReadPayload: TypeAlias = Callable[[Invocation], Payload]
"""Returns what may be told of an invocation's payload. It does not raise."""

_Kept: TypeAlias = tuple[float, Invocation, ReadPayload | None]
"""When a run began, and of what."""

_NO_PAYLOAD: Final = Payload("")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class RunLog:
    """The runs of one process. All of it happens in one event loop, so nothing needs a lock."""

    __slots__ = ("_clock", "_delayed", "_ended", "_failed", "_left", "_numbers", "_runs", "_second")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = count(1)
        self._runs: dict[int, _Kept] = {}
        self._ended: deque[Run] = deque(maxlen=KEPT)
        self._failed: deque[Run] = deque(maxlen=KEPT)
        self._delayed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._second = 0.0
        self._left = 0

    def begin(
        self, invocation: Invocation, now: float, read_payload: ReadPayload | None = None
    ) -> int:
        """Remember a run that begins, and return its number."""
        number = next(self._numbers)
        self._runs[number] = (now, invocation, read_payload)
        return number

    def end(self, number: int, now: float, error: BaseException | None) -> None:
        """Forget a run that has ended, but for what was found to be told of it."""
        kept = self._runs.pop(number)
        if error is not None:
            self._failed.append(_describe_ended(number, kept, now, error))
        elif self._may_keep(now):
            self._ended.append(_describe_ended(number, kept, now, None))

    def delay(self, function: str, id: str, until: float) -> None:
        """Remember an invocation that the broker holds until then."""
        self._delayed[function, id] = until
        self._delayed.move_to_end((function, id))
        if len(self._delayed) > KEPT_DELAYED:
            self._delayed.popitem(last=False)

    def save(self) -> tuple[Run, ...]:
        """Return what is remembered of runs that have ended."""
        return (*self._ended, *self._failed)

    def restore(self, runs: Iterable[Run]) -> None:
        """Remember runs that an earlier process has saved, under numbers of this one."""
        for run in runs:
            kept = self._ended if run.outcome == SUCCESS else self._failed
            kept.append(replace(run, number=next(self._numbers)))

    def look(self, instance: str, question: Question) -> Sight:
        """Answer a question as the process with that id."""
        most = max(0, min(question.most, MAX_TOLD))
        going = [
            _describe(number, kept) for number, kept in islice(self._matching(question.find), most)
        ]
        since = self._clock.now() - question.seconds
        ended = [
            run
            for runs in (self._ended, self._failed)
            for run in runs
            if (
                question.find in (run.id, run.correlation_id)
                if question.find
                else run.since + run.duration >= since
            )
        ]
        ended.sort(key=lambda run: run.since + run.duration)
        wanted = bool(question.find)
        return Sight(
            instance,
            _limit_payloads(going, wanted=wanted),
            _limit_payloads(ended[-most:] if most else [], wanted=wanted),
            tuple(self._find_delayed(question)),
            0 if question.find else len(self._runs) - len(going),
        )

    def _matching(self, find: str) -> Iterator[tuple[int, _Kept]]:
        for number, kept in self._runs.items():
            invocation = kept[1]
            if not find or find in (
                invocation.id,
                find_correlation_id(invocation.headers, invocation.id),
            ):
                yield number, kept

    def _find_delayed(self, question: Question) -> Iterator[DelayedRun]:
        now = self._clock.now()
        for (function, id), until in self._delayed.items():
            if until > now and id == question.find:
                yield DelayedRun(id, function, until)

    def _may_keep(self, now: float) -> bool:
        if not self._second <= now < self._second + 1.0:  # A clock may also be set back.
            self._second, self._left = now, SAMPLED
        self._left -= 1
        return self._left >= 0


def _limit_payloads(runs: Sequence[Run], *, wanted: bool) -> tuple[Run, ...]:
    """Leave out payloads that nobody asked for, and those that make an answer too large."""
    left = MAX_PAYLOADS if wanted else 0
    told: list[Run] = []
    for run in reversed(runs):  # Of the latest they are told rather than of others.
        left -= len(run.payload)
        told.append(replace(run, payload="", redacted=False) if left < 0 and run.payload else run)
    return tuple(reversed(told))


def _describe(number: int, kept: _Kept, **ended: Any) -> Run:
    began, invocation, read = kept
    payload = _NO_PAYLOAD if read is None else read(invocation)
    return Run(
        number,
        _printable(invocation.id),
        invocation.function,
        began,
        invocation.attempt,
        _printable(invocation.trigger),
        _printable(invocation.caller),
        _printable(find_correlation_id(invocation.headers, invocation.id)),
        payload=payload.text,
        redacted=payload.redacted,
        **ended,
    )


def _describe_ended(number: int, kept: _Kept, now: float, error: BaseException | None) -> Run:
    return _describe(
        number,
        kept,
        outcome=name_outcome(error),
        duration=max(now - kept[0], 0.0),
        error_type="" if error is None else _printable(name_error(error)),
        error="" if error is None else _printable(str(error)),
    )


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text[:MAX_TEXT])
