"""Runs of functions, as a process tells of them: those that go on, and those that ended lately."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import field
from typing import Final, TypeAlias

from eventmesh.model.value import value

MAX_TOLD: Final = 1_000
"""Runs that a process tells of at once, those that go on and those that have ended, each."""

MAX_TEXT: Final = 300
"""Characters of an id or of an error's text that are told."""


MAX_PAYLOADS: Final = 1024 * 1024
"""Characters of all payloads that are told at once."""


@value
class Payload:
    """A payload as JSON, "" if it was not recorded; `redacted` says that it was changed for that.

    It is the payload of an invocation by name, whatever fired the function.
    """

    text: str = field(repr=False)
    redacted: bool = False


@value
class Run:
    """One run of a function.

    `number` tells the runs of one process apart, in the order in which they began; `since` is in
    seconds since the epoch. A run that goes on has no `outcome` (see `middleware.outcome`); one
    that has ended took `duration` seconds. `payload` and `redacted` are those of a
    `Payload`.
    """

    number: int
    id: str
    function: str
    since: float
    attempt: int
    trigger: str
    caller: str
    correlation_id: str
    outcome: str = ""
    duration: float = 0.0
    error_type: str = ""
    error: str = ""
    payload: str = field(default="", repr=False)
    redacted: bool = False


@value
class DelayedRun:
    """An invocation that the broker holds until a time, in seconds since the epoch."""

    id: str
    function: str
    until: float


@value
class Described:
    """A function as its code declares it.

    `schema` is the JSON Schema of what it takes if it is invoked by name, as JSON; "" for bytes and
    for what has none. `code` is where its code is, "orders/app.py:42"; "" if that is not known.
    """

    function: str
    schema: str = ""
    code: str = ""
    description: str = ""


@value
class Question:
    """What somebody asks all processes: which runs go on, and which have ended lately.

    `asker` is who gets the answers. With an id in `find`, only what has it as its id or as its
    correlation id is told, with its payload; else what has ended in the last `seconds`. At most
    `most` runs of each.
    `describe` is the name of a function that is to be described.
    """

    asker: str
    find: str = ""
    seconds: float = 5.0
    most: int = 100
    describe: str = ""


@value
class Sight:
    """What a process answers: its `instance` id, and the runs, oldest first.

    `skipped` is how many runs that go on were left out. `described` is the function that was asked
    for, where the process has it.
    """

    instance: str
    runs: tuple[Run, ...] = ()
    ended: tuple[Run, ...] = ()
    delayed: tuple[DelayedRun, ...] = ()
    skipped: int = 0
    described: Described | None = None


Place: TypeAlias = tuple[float, str]
"""Where a run is among others, the latest of which is the greatest: when it began, and its key."""


def find_place(run: Run) -> Place:
    """Return the place of a run: the same one whoever tells of it, under whatever number."""
    parts = (run.function, run.id, str(run.attempt), run.since.hex())
    text = "\n".join(parts).encode(errors="replace")
    return run.since, hashlib.sha256(text).hexdigest()[:32]


@value
class RunFilter:
    """Which runs that have ended are wanted; what is "" or None selects all.

    `find` is an id or a correlation id. They began at `since` or later, and before `until`, both in
    seconds since the epoch.
    """

    find: str = ""
    function: str = ""
    outcome: str = ""
    trigger: str = ""
    correlation_id: str = ""
    since: float | None = None
    until: float | None = None

    def selects(self, run: Run) -> bool:
        """Whether a run is one of those."""
        return (
            self.find in ("", run.id, run.correlation_id)
            and self.function in ("", run.function)
            and self.outcome in ("", run.outcome)
            and self.trigger in ("", run.trigger)
            and self.correlation_id in ("", run.correlation_id)
            and (self.since is None or run.since >= self.since)
            and (self.until is None or run.since < self.until)
        )


@value
class KeptRun:
    """A run of the history, the id of its process, and its place there."""

    instance: str
    run: Run
    place: Place


@value
class KeptRuns:
    """Runs of the history, the latest first; what begins before `more` was not looked at."""

    runs: Sequence[KeptRun] = ()
    more: Place | None = None
