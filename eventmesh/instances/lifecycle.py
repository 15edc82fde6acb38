"""The life of an instance, whatever runs in it: it starts, runs invocations, and ends."""

from __future__ import annotations

import asyncio
import logging
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import Context as Variables
from contextvars import copy_context
from enum import Enum
from itertools import count
from typing import Any, Final

from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import Abandon, FunctionSpec
from eventmesh.instances.failures import (
    describe_exit,
    exit_error,
    init_timeout_error,
    neighbour_error,
)
from eventmesh.instances.memory.abc import Excess, MemoryGroup
from eventmesh.instances.output import Output
from eventmesh.instances.zygote.client import Exit
from eventmesh.model.errors import FunctionError
from eventmesh.model.invocation import Invocation
from eventmesh.model.limits import INIT_TIMEOUT
from eventmesh.model.result import Failure, Result
from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)

CANCEL_TIMEOUT: Final = 0.25
"""Seconds in which a cancelled run must end, before its instance is killed."""
STOP_TIMEOUT: Final = 2.0
"""Seconds in which an instance must close its resources when it is to end."""
_OUTPUT_TIMEOUT: Final = 0.5
"""Seconds to wait for the last output of an instance that has ended."""
_EARLY: Final = 0.005
"""Seconds before a deadline at which a cancellation counts as the deadline's."""


class State(Enum):
    """Of an instance. It takes runs while it is ready; one that ends takes no more."""

    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    ENDED = "ended"


class Run:
    """One invocation on an instance."""

    __slots__ = ("abandoned", "context", "failure", "invocation", "item", "release", "result")

    def __init__(self, invocation: Invocation) -> None:
        loop = asyncio.get_running_loop()
        self.invocation = invocation
        self.context: Variables = copy_context()
        self.result: asyncio.Future[Result] = loop.create_future()
        self.item: asyncio.Future[bytes | None] | None = None
        self.abandoned = False
        self.failure: Failure | None = None
        self.release: Callable[[], object] = _nothing

    def fail(self, error: Failure, body: bytes = b"") -> None:
        """End it with an error, or the stream that it has begun; `failure` keeps it for that.

        `body` is the error as the function's own runtime told it.
        """
        self.failure = self.failure or error
        if not self.result.done():
            self.result.set_result(Result(body, error=error))
        elif self.item is not None and not self.item.done():
            self.item.set_exception(error)


@value
class Surroundings:
    """What an instance needs of its owner.

    `on_change` is called when the instance is ready, has ended a run, or has ended itself.
    """

    clock: Clock
    group: MemoryGroup
    tasks: asyncio.TaskGroup
    abandon: Abandon
    on_change: Callable[[Any], object]


class Instance(ABC):
    """A process that runs one function. A subclass knows how to talk to what runs in it.

    Its owner connects `output`, sets `pid`, `kill_process` and `terminate_process`, and calls
    `start_timer`.
    """

    def __init__(self, spec: FunctionSpec, around: Surroundings) -> None:
        self.state = State.STARTING
        self.begun = 0
        self.exceeded: Excess | None = None
        self._unwanted = False
        self.peak = 0
        self.failure: Failure | None = None
        self.pid = 0
        self.kill_process: Callable[[], object] = _nothing
        self.terminate_process: Callable[[], object] = _nothing
        self._spec = spec
        self._clock = around.clock
        self._group = around.group
        self._tasks = around.tasks
        self._abandon = around.abandon
        self._on_change = around.on_change
        self._numbers = count(1)
        self._reserved = 0
        self._runs: dict[int, Run] = {}
        self._killed_for: Failure | None = None
        self.output = Output(spec.full_name, self._find_fields, self._keep_line)

    def __repr__(self) -> str:
        return f"<instance {self.pid} of {self._spec.full_name}, {self.state.value}>"

    @abstractmethod
    def _begin(self, number: int, run: Run) -> None:
        """Have the process begin a run."""

    @abstractmethod
    def _cancel(self, number: int) -> bool:
        """Ask the process to end a run. Returns False if it cannot be asked."""

    @abstractmethod
    def _ask_stop(self) -> bool:
        """Ask the process to close its resources and end. Returns False if it cannot be asked."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Close what connects the process, which has ended."""

    @property
    def running(self) -> int:
        """How many runs it has, with reserved ones, and those that are cancelled and go on."""
        return len(self._runs) + self._reserved

    def reserve(self) -> None:
        """Keep a place for a run that begins soon."""
        self._reserved += 1
        self.begun += 1

    def cancel_reservation(self) -> None:
        """Give up a place that was reserved: the run does not begin."""
        self._reserved -= 1
        self.begun -= 1
        self._on_change(self)

    def start_timer(self) -> None:
        """Begin to count the time in which it must be ready."""
        self._init_timer = self._clock.call_later(INIT_TIMEOUT, self._out_of_init_time)

    async def run(self, invocation: Invocation) -> Result:
        """Run an invocation, in a place that was reserved.

        A cancellation ends the run, and the process with it if the run does not end.
        """
        number = next(self._numbers)
        run = Run(invocation)
        self._runs[number] = run
        self._reserved -= 1
        self._begin(number, run)
        try:
            return await run.result
        except asyncio.CancelledError:
            self._give_up(number, run)
            raise

    def stop(self) -> None:
        """Let it, which runs nothing, close its resources and end; in time, or it is killed."""
        self._unwanted = True
        self._end()
        if self._ask_stop():
            self._clock.call_later(STOP_TIMEOUT, self._kill_if_left)
        else:
            self.kill()

    def expect_end(self) -> None:
        """Begin no more runs on it: it ends by itself, in time, or it is killed."""
        if self.state is not State.ENDED:
            self._end()
            self._clock.call_later(STOP_TIMEOUT, self._kill_if_left)

    def _kill_if_left(self) -> None:
        if self.state is not State.ENDED:
            self.kill()

    def kill(self, reason: Failure | None = None) -> None:
        """Kill it with all that it started. `reason` is the error of its runs, if there are any."""
        self._killed_for = self._killed_for or reason
        self._end()
        self.kill_process()

    def take_exit(self, ended: Exit, closed: asyncio.Future[Any]) -> None:
        """Note that its process has ended; `closed` is done when its output has been read."""
        self._end()
        self._tasks.create_task(self._finish(ended, closed))

    async def _finish(self, ended: Exit, closed: asyncio.Future[Any]) -> None:
        await asyncio.wait([closed], timeout=_OUTPUT_TIMEOUT)
        peak = self.peak = self._group.peak() or ended.peak
        unasked = self._killed_for is None and not self._unwanted
        killed = ended.code == -signal.SIGKILL and unasked
        exceeded = self.exceeded = self._group.find_excess(max(peak, ended.peak), killed=killed)
        await self._group.close()
        last = "\n".join(self.output.last)
        error = exit_error(self._spec, ended, peak, last, exceeded=exceeded)
        if self.failure is None and self.begun == 0 and self.state is State.ENDING:
            self.failure = self._killed_for or self._describe_start(error, ended)
        self.state = State.ENDED
        self._disconnect()
        self._log_end(ended, peak, exceeded=exceeded)
        for run in self._runs.values():
            run.release()
            reason = error if exceeded or self._killed_for is None else self._killed_for
            self._fail_exited(run, reason, ended)
        self._runs.clear()
        self._on_change(self)

    def _describe_start(self, error: FunctionError, ended: Exit) -> FunctionError:
        """Return the error of who waits for an instance that has ended before it was ready."""
        del ended  # The error says it.
        return error

    def _fail_exited(self, run: Run, reason: Failure, ended: Exit) -> None:
        """Fail a run whose process has ended in the middle of it."""
        del ended  # The reason says it.
        run.fail(reason)

    def _log_end(self, ended: Exit, peak: int, *, exceeded: Excess | None) -> None:
        text = describe_exit(ended, peak, self._spec, exceeded=exceeded)
        expected = ended.code == 0 or (self._unwanted and not exceeded)
        level = logging.INFO if expected else logging.WARNING
        fields = {"function": self._spec.full_name, "runs": self.begun, "peak_bytes": peak}
        _log.log(level, "instance %d of %s %s", self.pid, self._spec.full_name, text, extra=fields)

    def _become_ready(self) -> None:
        if self.state is State.STARTING:
            self._init_timer.cancel()
            self.state = State.READY
            self._on_change(self)

    def _out_of_init_time(self) -> None:
        if self.state is State.STARTING:
            self.failure = init_timeout_error(self._spec)
            self.kill()

    def _end(self) -> None:
        self._init_timer.cancel()
        if self.state is not State.ENDED:
            self.state = State.ENDING

    def _give_up(self, number: int, run: Run) -> None:
        """End a run that was cancelled: at its deadline with the process, if it is alone there."""
        if number not in self._runs:
            return
        run.abandoned = True
        run.release = self._abandon(self._spec.full_name)
        deadline = run.invocation.deadline
        late = deadline is not None and self._clock.monotonic() >= deadline - _EARLY
        if (late and self._spec.instance_concurrency == 1) or not self._cancel(number):
            self.kill(neighbour_error(self._spec))
            return
        self._clock.call_later(CANCEL_TIMEOUT, lambda: self._kill_if_running(number))

    def _kill_if_running(self, number: int) -> None:
        if number in self._runs and self.state is not State.ENDED:
            self.kill(neighbour_error(self._spec))

    def _end_run(self, number: int) -> None:
        self._runs.pop(number).release()
        self._on_change(self)

    def _keep_line(self, line: bytes, id: str | None) -> None:
        """Keep a line of output for who asked for the log of its run."""
        runs = self._find_runs(id)
        tail = runs[0].log_tail if len(runs) == 1 else None
        if tail is not None:
            tail.add(line)

    def _find_runs(self, id: str | None) -> list[Invocation]:
        """Return what runs under that id; None for all."""
        running = (run.invocation for run in self._runs.values())
        return [each for each in running if id is None or each.id == id]

    def _find_fields(self, id: str | None) -> dict[str, Any]:
        runs = self._find_runs(id)
        fields: dict[str, Any] = {"function": self._spec.full_name, "instance": self.pid}
        if len(runs) == 1 or (runs and id is not None):
            fields |= {"invocation_id": runs[0].id, "attempt": runs[0].attempt}
        return fields


def _nothing() -> None:
    """Do nothing: there is no process yet, or nothing to release."""
