"""Crashes of the processes that run durable functions, at the points that a test names."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from eventmesh.abc import Handler
from eventmesh.durable.keeper import Change
from eventmesh.model.errors import BrokerUnavailable, NotBegun
from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.model.result import Result
from eventmesh.model.value import value

_LISTED: Final = 20
"""Names of operations that are told where one was not met."""

_running: Final[ContextVar[bool]] = ContextVar("eventmesh_testing_crashes", default=False)


class ProcessDied(BaseException):
    """A run ends here, as if its process had been killed. No code of a user's sees it."""


class _Lost(NotBegun):
    """The run was lost with its process: its message is delivered again."""

    def __init__(self, death: ProcessDied) -> None:
        super().__init__(death)
        self._death = death

    def __str__(self) -> str:
        return f"the test let its process die: {self._death}"


@value
class _Planned:
    """A crash at the end of an operation: when that is recorded, or instead of it."""

    operation: str
    recorded: bool

    def __str__(self) -> str:
        return f"crash({'after' if self.recorded else 'during'}={self.operation!r})"


class Crashes:
    """Ends runs where an execution is recorded, and has their messages delivered again.

    What is recorded in one transaction makes two points, counted from 1: the run ends with the
    transaction rolled back, or with it committed and nothing known of that.
    """

    def __init__(self, point: int = 0) -> None:
        """`point` is where the first run to get there ends; 0 is nowhere."""
        self.happened: list[str] = []
        self.points = 0
        self.exact = True
        """Whether it is a mistake if there is no such point."""
        self._point = point
        self._planned: list[_Planned] = []
        self._names: dict[str, None] = {}

    def plan(self, operation: str, *, recorded: bool) -> None:
        """End the next run that comes to the end of that operation, once."""
        self._planned.append(_Planned(operation, recorded))

    def find_missed(self) -> list[str]:
        """Describe what was planned and did not happen."""
        names = ", ".join(map(repr, list(self._names)[:_LISTED])) or "none"
        missed = [
            f"{each} did not happen: the operations that ended are {names}"
            for each in self._planned
        ]
        if self.exact and self._point > self.points:
            missed.append(f"crash_at={self._point} did not happen: there were {self.points} points")
        return missed

    def observe(self, handler: Handler) -> Handler:
        """Wrap a handler, as a middleware, to settle a run that has died as a broker would."""

        async def run(invocation: Invocation) -> Result:
            token = _running.set(True)
            try:
                return await handler(invocation)
            except ProcessDied as death:
                if invocation.mode == SYNC:
                    return Result(b"", error=BrokerUnavailable(f"the process died: {death}"))
                return Result(b"", error=_Lost(death))
            finally:
                _running.reset(token)

        return run

    def watch(self, change: Change) -> Callable[[], object]:
        """Take a change that is about to be committed; return what to call when it is.

        Either raises ProcessDied where a crash is to be.
        """
        events = change.transition.changes.events
        if not _running.get() or not events:
            return _nothing
        what = ", ".join(
            f"{each.type} {each.name!r}" if each.name else each.type for each in events
        )
        ended = {
            each.name
            for each in change.transition.changes.operations.values()
            if each.is_ended and each.name
        }
        self._names |= dict.fromkeys(sorted(ended))
        function = change.execution.function
        self._pass(f"{function} died before it recorded {what}", ended, recorded=False)
        return lambda: self._pass(f"{function} died after it recorded {what}", ended, recorded=True)

    def _pass(self, where: str, ended: set[str], *, recorded: bool) -> None:
        self.points += 1
        met = next(
            (
                each
                for each in self._planned
                if each.operation in ended and each.recorded == recorded
            ),
            None,
        )
        if met is not None:
            self._planned.remove(met)
        elif self.points != self._point:
            return
        where = f"{where} (crash_at={self.points})"
        self.happened.append(where)
        raise ProcessDied(where)


def _nothing() -> None: ...
