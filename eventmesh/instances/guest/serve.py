"""What runs in an instance: the handler of one function, on a socket to its service."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from eventmesh.abc import Handler
from eventmesh.aio.clock import SystemClock
from eventmesh.aio.tasks import task_group
from eventmesh.engine.function import AnyFunction
from eventmesh.engine.resources import Resource
from eventmesh.engine.runtimes.direct import DirectRuntime
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.engine.runtimes.registry import INLINE, THREAD, load_runtime
from eventmesh.engine.spec import Environment, Runtime
from eventmesh.engine.store import ISOLATED
from eventmesh.instances.guest.log import current_invocation, log_to
from eventmesh.instances.guest.transport import ServiceTransport, current_run
from eventmesh.instances.wire.codec import dump_failure, dump_result, load_answer, load_invocation
from eventmesh.instances.wire.frames import MAX_FROM_SERVICE, Frames, Kind
from eventmesh.model.errors import FunctionError, PayloadTooLarge
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import MAX_BODY
from eventmesh.model.result import HANDLER_ERRORS, Result, close_stream

_END: Final = object()


def run_guest(function: AnyFunction, connection: int, log: int, level: int) -> int:
    """Run invocations until the service says stop or is gone, and return the exit status.

    `connection` and `log` are descriptors: of the socket, and of the pipe for log records of
    `level` and above.
    """
    with log_to(log, level):
        return asyncio.run(_Guest(function).serve(socket.socket(fileno=connection)))


class _Guest:
    def __init__(self, function: AnyFunction) -> None:
        self._function = function
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._abandoned: set[int] = set()
        self._streams: dict[int, tuple[Invocation, AsyncIterator[bytes]]] = {}

    async def serve(self, connection: socket.socket) -> int:
        loop = asyncio.get_running_loop()
        _, frames = await loop.create_connection(
            lambda: Frames(self._on_frame, self._on_close, MAX_FROM_SERVICE), sock=connection
        )
        self._frames = frames
        self._transport = ServiceTransport(frames)
        status = await self._serve()
        # What was written is sent before the process ends.
        frames.close()
        await self._closed.wait()
        return status

    async def _serve(self) -> int:
        async with AsyncExitStack() as stack:
            try:
                self._handler = await self._open(stack)
            except HANDLER_ERRORS as error:
                self._frames.send(Kind.FAILED, 0, dump_failure(failure_from(error)))
                return 1
            async with task_group() as self._tasks:
                self._frames.send(Kind.READY, 0)
                await self._ended.wait()
                for run in self._runs.values():
                    run.cancel()
        return 0

    async def _open(self, stack: AsyncExitStack) -> Handler:
        """Open the resources that the function needs, and then the function."""
        function = self._function
        wanted = _find_needed(function.resources, function.signature.resources.values())
        opened: dict[type, object] = {}
        for resource in wanted:
            needs = {name: opened[kind] for name, kind in resource.needs.items()}
            opened[resource.kind] = await stack.enter_async_context(resource.open(**needs))
        environment = Environment(
            clock=SystemClock(),
            transport=self._transport,
            resources={function.spec.service: opened},
            abandon=self._abandon,
            without_store=ISOLATED,
        )
        runtime = _choose_runtime(function)
        return await stack.enter_async_context(runtime.open(function, environment))

    def _abandon(self, _: str) -> Callable[[], None]:
        """Note that a run goes on in its thread although it was cancelled: it has not ended."""
        number = current_run.get()
        self._abandoned.add(number)

        def end() -> None:
            self._abandoned.discard(number)
            self._send_cancelled(number)

        return end

    def _send_cancelled(self, number: int) -> None:
        result = Result(b"", error=FunctionError("Cancelled", "the run was cancelled"))
        self._frames.send(Kind.RESULT, number, *dump_result(result, None))

    def _on_close(self, _: Exception | None) -> None:
        self._closed.set()
        self._ended.set()

    def _on_frame(self, kind: Kind, number: int, head: bytes, body: bytes) -> None:
        match kind:
            case Kind.RUN:
                run = self._tasks.create_task(self._run(number, head, body))
                self._runs[number] = run
            case Kind.CANCEL:
                if number in self._runs:
                    self._runs[number].cancel()
            case Kind.NEXT:
                self._runs[number] = self._tasks.create_task(self._send_next(number))
            case Kind.CLOSE:
                self._tasks.create_task(self._close_stream(number))
            case Kind.ANSWER:
                self._transport.answer(number, load_answer(head, body))
            case Kind.STOP:
                self._ended.set()
            case _:
                raise AssertionError(f"the service sent a frame {kind.name}")

    async def _run(self, number: int, head: bytes, body: bytes) -> None:
        invocation = load_invocation(head, body)
        current_run.set(number)
        current_invocation.set(invocation)
        try:
            result = await self._handler(invocation)
        except asyncio.CancelledError:
            if number not in self._abandoned:
                self._send_cancelled(number)
            return
        finally:
            del self._runs[number]
        self._send_result(number, invocation, result)

    def _send_result(self, number: int, invocation: Invocation, result: Result) -> None:
        if len(result.body) > MAX_BODY:
            result = Result(b"", error=PayloadTooLarge(len(result.body), MAX_BODY))
        if result.stream is not None:
            self._streams[number] = (invocation, result.stream)
        self._frames.send(Kind.RESULT, number, *dump_result(result, invocation.batch))

    async def _send_next(self, number: int) -> None:
        invocation, stream = self._streams[number]
        current_run.set(number)
        current_invocation.set(invocation)
        try:
            item: Any = await anext(stream, _END)
        except HANDLER_ERRORS as error:
            self._end_stream(number, dump_failure(_stream_failure(error)))
            return
        finally:
            self._runs.pop(number, None)
        if item is _END:
            self._end_stream(number, None)
        elif len(item) > MAX_BODY:
            self._end_stream(number, dump_failure(PayloadTooLarge(len(item), MAX_BODY)))
        else:
            self._frames.send(Kind.ITEM, number, None, item)

    async def _close_stream(self, number: int) -> None:
        known = self._streams.get(number)
        try:
            if known is not None:
                current_run.set(number)
                current_invocation.set(known[0])
                await close_stream(known[1])
        except HANDLER_ERRORS as error:
            self._end_stream(number, dump_failure(_stream_failure(error)))
        else:
            self._end_stream(number, None)

    def _end_stream(self, number: int, error: dict[str, Any] | None) -> None:
        self._streams.pop(number, None)
        self._frames.send(Kind.END, number, error)


def _choose_runtime(function: AnyFunction) -> Runtime:
    if function.signature.is_async:
        return load_runtime(INLINE)
    return DirectRuntime() if function.spec.instance_concurrency == 1 else load_runtime(THREAD)


def _stream_failure(error: BaseException) -> Any:
    if isinstance(error, asyncio.CancelledError):
        return FunctionError("Cancelled", "the run was cancelled")
    return failure_from(error)


def _find_needed(known: Sequence[Resource], wanted: Iterable[Any]) -> list[Resource]:
    """Return the resources of these types and what they need, in the order of opening."""
    kinds = set(wanted)
    # What a resource needs is declared before it.
    for resource in reversed(known):
        if resource.kind in kinds:
            kinds.update(resource.needs.values())
    return [resource for resource in known if resource.kind in kinds]
