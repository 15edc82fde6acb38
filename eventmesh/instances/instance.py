"""One instance, as its service sees it: runs on it, its calls, and how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextvars import Context as Variables
from contextvars import copy_context
from dataclasses import replace
from enum import Enum
from itertools import count
from typing import Any, Final

from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import Abandon, FunctionSpec
from eventmesh.instances.calls import Calls
from eventmesh.instances.failures import (
    describe_exit,
    exit_error,
    init_error,
    init_timeout_error,
    neighbour_error,
)
from eventmesh.instances.memory.abc import MemoryGroup
from eventmesh.instances.output import Output
from eventmesh.instances.wire.codec import dump_invocation, load_call, load_failure, load_result
from eventmesh.instances.wire.frames import FrameError, Frames, Kind, read_json
from eventmesh.instances.zygote.client import Exit
from eventmesh.model.invocation import Invocation
from eventmesh.model.isolation import INIT_TIMEOUT
from eventmesh.model.result import Failure, Result

_log: Final = logging.getLogger(__name__)

CANCEL_TIMEOUT: Final = 0.25
"""Seconds in which a cancelled run must end, before its instance is killed."""
STOP_TIMEOUT: Final = 2.0
"""Seconds in which an instance must close its resources when it is to end."""
_MAX_UNREAD: Final = 64 * 1024 * 1024
"""Bytes of answers that an instance may leave unread."""
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


class _Run:
    """One invocation on an instance."""

    __slots__ = ("abandoned", "context", "invocation", "item", "release", "result")

    def __init__(self, invocation: Invocation) -> None:
        loop = asyncio.get_running_loop()
        self.invocation = invocation
        self.context: Variables = copy_context()
        self.result: asyncio.Future[Result] = loop.create_future()
        self.item: asyncio.Future[bytes | None] | None = None
        self.abandoned = False
        self.release: Callable[[], object] = _nothing


class Instance:
    """A process that runs one function.

    `on_change` is called when it is ready, has ended a run, or has ended itself. Its owner connects
    `frames` and `output`, and sets `pid` and `kill`.
    """

    def __init__(
        self,
        spec: FunctionSpec,
        *,
        clock: Clock,
        calls: Calls,
        group: MemoryGroup,
        tasks: asyncio.TaskGroup,
        abandon: Abandon,
        on_change: Callable[[Instance], object],
    ) -> None:
        self.state = State.STARTING
        self.begun = 0
        self.exceeded = False
        self.peak = 0
        self.failure: Failure | None = None
        self.pid = 0
        self.kill_process: Callable[[], object] = _nothing
        self._spec = spec
        self._clock = clock
        self._calls = calls
        self._group = group
        self._tasks = tasks
        self._abandon = abandon
        self._on_change = on_change
        self._numbers = count(1)
        self._reserved = 0
        self._runs: dict[int, _Run] = {}
        self._killed_for: Failure | None = None
        self.output = Output(spec.full_name, self._find_fields)

    def __repr__(self) -> str:
        return f"<instance {self.pid} of {self._spec.full_name}, {self.state.value}>"

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

    def connect(self, frames: Frames) -> None:
        self._frames = frames
        self._init_timer = self._clock.call_later(INIT_TIMEOUT, self._out_of_init_time)

    async def run(self, invocation: Invocation) -> Result:
        """Run an invocation, in a place that was reserved.

        A cancellation ends the run, and the process with it if the run does not end.
        """
        number = next(self._numbers)
        run = _Run(invocation)
        self._runs[number] = run
        self._reserved -= 1
        self._frames.send(Kind.RUN, number, *dump_invocation(invocation))
        try:
            return await run.result
        except asyncio.CancelledError:
            self._give_up(number, run)
            raise

    def stop(self) -> None:
        """Let it, which runs nothing, close its resources and end; in time, or it is killed."""
        self._end()
        self._frames.send(Kind.STOP, 0)
        self._clock.call_later(STOP_TIMEOUT, self._kill_if_left)

    def _kill_if_left(self) -> None:
        if self.state is not State.ENDED:
            self.kill()

    def kill(self, reason: Failure | None = None) -> None:
        """Kill it with all that it started. `reason` is the error of its runs, if there are any."""
        self._killed_for = self._killed_for or reason
        self._end()
        self.kill_process()

    def take_frame(self, kind: Kind, number: int, head: bytes, body: bytes) -> None:
        """Do what a frame says. Raises FrameError for one that an instance may not send."""
        match kind:
            case Kind.READY:
                self._become_ready()
            case Kind.FAILED:
                self.failure = init_error(self._spec, load_failure(read_json(head)))
            case Kind.RESULT:
                self._take_result(number, head, body)
            case Kind.ITEM:
                self._take_item(number, body)
            case Kind.END:
                self._take_end(number, load_failure(read_json(head)) if head else None)
            case Kind.CALL:
                self._take_call(number, head, body)
            case _:
                _log.warning("%r sent a frame that only services send; it is killed", self)
                self.kill()

    def take_close(self, error: Exception | None) -> None:
        """Note that its socket is closed: it ends, or has sent what is no frame."""
        if isinstance(error, FrameError):
            _log.warning("%r broke its connection and is killed: %s", self, error)
            self.kill()
        elif self.state is not State.ENDED:
            self._end()
            self._clock.call_later(STOP_TIMEOUT, self._kill_if_left)

    def take_exit(self, ended: Exit, closed: asyncio.Future[Any]) -> None:
        """Note that its process has ended; `closed` is done when its output has been read."""
        self._end()
        self._tasks.create_task(self._finish(ended, closed))

    async def _finish(self, ended: Exit, closed: asyncio.Future[Any]) -> None:
        await asyncio.wait([closed], timeout=_OUTPUT_TIMEOUT)
        peak = self.peak = self._group.peak() or ended.peak
        exceeded = self.exceeded = self._group.was_exceeded()
        await self._group.close()
        last = "\n".join(self.output.last)
        error = exit_error(self._spec, ended, peak, last, exceeded=exceeded)
        if self.failure is None and self.begun == 0 and self.state is State.ENDING:
            self.failure = self._killed_for or error
        self.state = State.ENDED
        self._frames.close()
        self._log_end(ended, peak, exceeded=exceeded)
        for run in self._runs.values():
            run.release()
            reason = error if exceeded or self._killed_for is None else self._killed_for
            _fail(run, reason)
        self._runs.clear()
        self._on_change(self)

    def _log_end(self, ended: Exit, peak: int, *, exceeded: bool) -> None:
        text = describe_exit(ended, peak, self._spec, exceeded=exceeded)
        level = logging.INFO if ended.code == 0 else logging.WARNING
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

    def _give_up(self, number: int, run: _Run) -> None:
        """End a run that was cancelled: at its deadline with the process, if it is alone there."""
        if number not in self._runs:
            return
        run.abandoned = True
        run.release = self._abandon(self._spec.full_name)
        deadline = run.invocation.deadline
        late = deadline is not None and self._clock.now() >= deadline - _EARLY
        if late and self._spec.instance_concurrency == 1:
            self.kill()
            return
        self._frames.send(Kind.CANCEL, number)
        self._clock.call_later(CANCEL_TIMEOUT, lambda: self._kill_if_running(number))

    def _kill_if_running(self, number: int) -> None:
        if number in self._runs and self.state is not State.ENDED:
            self.kill(neighbour_error(self._spec))

    def _take_result(self, number: int, head: bytes, body: bytes) -> None:
        run = self._runs.get(number)
        if run is None:
            return
        result, streams = load_result(head, body, run.invocation.batch)
        if run.result.done():  # Cancelled meanwhile.
            if streams:
                self._frames.send(Kind.CLOSE, number)
            else:
                self._end_run(number)
        elif streams:
            run.result.set_result(replace(result, stream=_Stream(self, number, run)))
        else:
            self._end_run(number)
            run.result.set_result(result)

    def ask_next(self, number: int) -> None:
        """Ask for the next item of a stream."""
        self._frames.send(Kind.NEXT, number)

    def ask_close(self, number: int) -> None:
        """Have the generator of a stream closed. A process that does not heed it is killed."""
        if number in self._runs:
            self._frames.send(Kind.CANCEL, number)
            self._frames.send(Kind.CLOSE, number)
            self._clock.call_later(CANCEL_TIMEOUT, lambda: self._kill_if_running(number))

    def _take_item(self, number: int, body: bytes) -> None:
        run = self._runs.get(number)
        if run is not None and run.item is not None and not run.item.done():
            run.item.set_result(body)

    def _take_end(self, number: int, error: Failure | None) -> None:
        run = self._runs.get(number)
        if run is None:
            return
        self._end_run(number)
        if run.item is None or run.item.done():
            return
        if error is None:
            run.item.set_result(None)
        else:
            run.item.set_exception(error)

    def _end_run(self, number: int) -> None:
        self._runs.pop(number).release()
        self._on_change(self)

    def _take_call(self, number: int, head: bytes, body: bytes) -> None:
        if self._frames.unsent > _MAX_UNREAD:
            raise FrameError("it asks for more while it does not read the answers")
        call = load_call(head)
        run = self._runs.get(call.run)
        invocation = None if run is None or run.abandoned else run.invocation
        context = copy_context() if run is None else run.context
        work = self._calls.make(call, body, invocation)
        if work is None:
            self._frames.send(Kind.ANSWER, number, *self._calls.refuse(call))
            return
        self._tasks.create_task(self._answer(number, work), context=context)

    async def _answer(self, number: int, work: Any) -> None:
        self._frames.send(Kind.ANSWER, number, *await work)

    def _find_fields(self, id: str | None) -> dict[str, Any]:
        runs = [
            run.invocation for run in self._runs.values() if id is None or run.invocation.id == id
        ]
        fields: dict[str, Any] = {"function": self._spec.full_name, "instance": self.pid}
        if len(runs) == 1 or (runs and id is not None):
            fields |= {"invocation_id": runs[0].id, "attempt": runs[0].attempt}
        return fields


class _Stream(AsyncIterator[bytes]):
    """The items that a handler in an instance yields: each is asked for when it is wanted."""

    def __init__(self, instance: Instance, number: int, run: _Run) -> None:
        self._instance = instance
        self._number = number
        self._run = run
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        item: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._run.item = item
        self._instance.ask_next(self._number)
        try:
            chunk = await item
        except BaseException:
            await self.aclose()
            raise
        if chunk is None:
            self._ended = True
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        if not self._ended:
            self._ended = True
            self._instance.ask_close(self._number)


def _fail(run: _Run, error: Failure) -> None:
    if not run.result.done():
        run.result.set_result(Result(b"", error=error))
    elif run.item is not None and not run.item.done():
        run.item.set_exception(error)


def _nothing() -> None:
    """Do nothing: there is no process yet, or nothing to release."""
