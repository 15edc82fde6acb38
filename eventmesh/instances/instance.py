"""An instance that runs a Python handler of ours, as its service sees it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Final

from eventmesh.engine.spec import FunctionSpec
from eventmesh.instances.calls import Calls
from eventmesh.instances.failures import init_error
from eventmesh.instances.lifecycle import CANCEL_TIMEOUT, Instance, Run, Surroundings
from eventmesh.instances.wire.codec import dump_invocation, load_call, load_failure, load_result
from eventmesh.instances.wire.frames import FrameError, Frames, Kind, read_json
from eventmesh.model.result import Failure

_log: Final = logging.getLogger(__name__)

_MAX_UNREAD: Final = 64 * 1024 * 1024
"""Bytes of answers that an instance may leave unread."""


class HandlerInstance(Instance):
    """A process that was forked with the handler's code in it. Frames go to and from it."""

    def __init__(self, spec: FunctionSpec, around: Surroundings, calls: Calls) -> None:
        super().__init__(spec, around)
        self._calls = calls

    def connect(self, frames: Frames) -> None:
        self._frames = frames
        self.start_timer()

    def _begin(self, number: int, run: Run) -> None:
        self._frames.send(Kind.RUN, number, *dump_invocation(run.invocation))

    def _cancel(self, number: int) -> bool:
        self._frames.send(Kind.CANCEL, number)
        return True

    def _ask_stop(self) -> bool:
        self._frames.send(Kind.STOP, 0)
        return True

    def _disconnect(self) -> None:
        self._frames.close()

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
        else:
            self.expect_end()

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


class _Stream(AsyncIterator[bytes]):
    """The items that a handler in an instance yields: each is asked for when it is wanted."""

    def __init__(self, instance: HandlerInstance, number: int, run: Run) -> None:
        self._instance = instance
        self._number = number
        self._run = run
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        if self._run.failure is not None:  # Its process ended while nobody waited.
            self._ended = True
            raise self._run.failure
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
