"""Streamed responses: what a runtime sends while it runs, passed on while it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final, TypeAlias

import orjson

from eventmesh.instances.lifecycle import Run
from eventmesh.lambdas.api.runtime import ERROR_BODY, ERROR_TYPE
from eventmesh.lambdas.api.server import ACCEPTED, Answer, Flow
from eventmesh.lambdas.results import HTTP_RESPONSE, build_streamed, read_stream_error
from eventmesh.model.errors import FunctionError
from eventmesh.model.message import BYTES
from eventmesh.model.result import Result

MAX_UNREAD: Final = 256 * 1024
"""Bytes of a stream that wait for its receiver, before the runtime has to wait: about, because
what the socket has already given is taken."""
MAX_PRELUDE: Final = 64 * 1024
"""Bytes of the JSON that says the status and headers of a streamed response."""
_SEPARATOR: Final = bytes(8)
"""What stands between that and the body."""
EXIT_TIMEOUT: Final = 1.0
"""Seconds to wait for the end of the process whose connection was lost."""
TRUNCATED: Final = "Runtime.TruncatedResponse"
BAD_PRELUDE: Final = "Runtime.InvalidResponse"


CallLater: TypeAlias = Callable[[float, Callable[[], object]], object]


class ResponseStream(AsyncIterator[bytes]):
    """The parts of a response as they come. The runtime waits when they are not read."""

    def __init__(self, run: Run, flow: Flow, on_close: Callable[[], object]) -> None:
        """`on_close` is called if it is closed before its end: nobody reads the rest."""
        self._run = run
        self._flow = flow
        self._on_close = on_close
        self._parts: deque[bytes] = deque()
        self._unread = 0
        self._paused = False
        self._ended = False
        self._closed = False

    def feed(self, data: bytes) -> None:
        """Take a part, unless nobody reads it any more."""
        if self._closed or not data:
            return
        self._parts.append(data)
        self._unread += len(data)
        if self._unread > MAX_UNREAD and not self._paused:
            self._paused = True
            self._flow.pause()
        self._wake()

    def end(self) -> None:
        """Take note that nothing more comes."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._run.item is not None and not self._run.item.done():
            self._run.item.set_result(None)

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._run.failure is not None:
                raise self._run.failure
            if self._ended or self._closed:
                raise StopAsyncIteration
            self._run.item = asyncio.get_running_loop().create_future()
            try:
                await self._run.item
            except asyncio.CancelledError:
                await self.aclose()
                raise
        part = b"".join(self._parts)
        self._parts.clear()
        self._unread = 0
        self._resume()
        return part

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._flow.resume()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._parts.clear()
        self._resume()
        if not self._ended and self._run.failure is None:
            self._on_close()


class StreamedResponse:
    """Takes a streamed response of a runtime, and makes the run's result of its beginning."""

    def __init__(
        self,
        run: Run,
        kind: str,
        stream: ResponseStream,
        on_end: Callable[[], object],
        call_later: CallLater,
    ) -> None:
        """`kind` is its content type. `on_end` is called when it has ended, and how is known."""
        self._run = run
        self._kind = kind or BYTES
        self._stream = stream
        self._on_end = on_end
        self._call_later = call_later
        is_described = self._kind.startswith(HTTP_RESPONSE) and run.invocation.http is not None
        self._prelude: bytearray | None = bytearray() if is_described else None
        if not is_described:
            status = 0 if run.invocation.http is None else 200
            self._start(Result(b"", content_type=self._kind, status=status))

    def _start(self, result: Result) -> None:
        if not self._run.result.done():
            self._run.result.set_result(_with_stream(result, self._stream))

    def feed(self, data: bytes) -> None:
        if self._prelude is None:
            self._stream.feed(data)
            return
        self._prelude += data
        head, separator, rest = bytes(self._prelude).partition(_SEPARATOR)
        if separator and len(head) <= MAX_PRELUDE:
            self._prelude = None
            self._begin(head)
            self._stream.feed(rest)
        elif len(self._prelude) > MAX_PRELUDE:
            self._refuse(f"no status and headers in its first {MAX_PRELUDE:,} bytes")

    def _begin(self, head: bytes) -> None:
        try:
            described: Any = orjson.loads(head or b"{}")
            result = build_streamed(described)
        except (orjson.JSONDecodeError, TypeError, ValueError, AttributeError) as error:
            self._refuse(str(error))
            return
        self._start(result)

    def _refuse(self, why: str) -> None:
        self._prelude = None
        self._run.fail(FunctionError(BAD_PRELUDE, f"it streamed a response that is none ({why})"))

    def end(self, trailers: Mapping[str, str]) -> Answer:
        kind = trailers.get(ERROR_TYPE, "")
        if kind:
            self._run.fail(read_stream_error(trailers.get(ERROR_BODY, ""), kind))
        elif self._prelude is not None:
            self._refuse("it ended before its body")
        self._on_end()
        self._stream.end()
        return ACCEPTED

    def abort(self) -> None:
        """Fail what reads it: the runtime went away in the middle.

        If its process has ended, that comes a moment later, and tells more.
        """
        self._call_later(EXIT_TIMEOUT, self._break_off)

    def _break_off(self) -> None:
        if self._run.failure is None:
            self._run.fail(FunctionError(TRUNCATED, "its response broke off in the middle"))
            self._on_end()


def _with_stream(result: Result, stream: ResponseStream) -> Result:
    return Result(
        result.body,
        content_type=result.content_type,
        status=result.status,
        headers=result.headers,
        stream=stream,
    )
