"""Results that come item by item: newline-delimited JSON, server-sent events, or plain bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

from aiohttp import HttpVersion11

from eventmesh.http.server.problems import encode_problem, problem_from
from eventmesh.http.server.response import (
    WITHOUT_BODY,
    BaseResponse,
    BytesResponse,
    problem_response,
    target_path,
)
from eventmesh.model.errors import InvocationError, PayloadTooLarge, Signal
from eventmesh.model.message import BYTES, NO_HEADERS
from eventmesh.model.result import Failure, ResponseHeaders, Result, close_stream

NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"

_UNCACHED: Final = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would otherwise collect events before it passes them on
}

Frame: TypeAlias = Callable[[bytes], bytes]


def stream_response(
    stream: AsyncIterator[bytes],
    status: int,
    accept: str,
    invocation_id: str,
    *,
    plain: bool,
) -> StreamingResponse:
    """A response that sends a stream in the form that an Accept header prefers.

    The items of a `plain` stream are bytes, which are sent as they are.
    """
    if plain:
        return StreamingResponse(stream, status, BYTES, bytes, invocation_id)
    if prefers_events(accept):
        return StreamingResponse(stream, status, SSE, _event, invocation_id)
    return StreamingResponse(stream, status, NDJSON, _line, invocation_id)


async def raw_stream_response(
    result: Result, stream: AsyncIterator[bytes], status: int, invocation_id: str
) -> BytesResponse | StreamingResponse:
    """A response whose result describes it: its stream is the parts of its body, as they are.

    `status` is for a result that has none. A status that has no body gets none, and the stream is
    read to its end.
    """
    status = result.status or status
    kind, headers = result.content_type, result.headers
    if status in WITHOUT_BODY:
        async for _ in stream:
            pass
        return BytesResponse(status, b"", kind, headers, invocation_id)
    return StreamingResponse(stream, status, kind, bytes, invocation_id, headers=headers)


def prefers_events(accept: str) -> bool:
    """Whether an Accept header asks for server-sent events rather than lines of JSON.

    Lines are the default: a range such as `*/*` does not ask for events (RFC 9110, section 12.5.1).
    """
    weights = dict(_weight(part) for part in accept.lower().split(","))
    return weights.get(SSE, 0.0) > weights.get(NDJSON, 0.0)


def _weight(part: str) -> tuple[str, float]:
    media_type, *parameters = (text.strip() for text in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return media_type, float(parameter[2:])
            except ValueError:
                return media_type, 0.0
    return media_type, 1.0


def _event(item: bytes) -> bytes:
    return b"data: " + item + b"\n\n"  # JSON has no line breaks of its own.


def _line(item: bytes) -> bytes:
    return item + b"\n"


class StreamingResponse(BaseResponse):
    """A response whose body is sent item by item, each once the client has read those before.

    A stream that fails after its first item has the status of a success already. Its connection is
    dropped before the end of the body, which tells the client that something is missing;
    server-sent events end with an event of the type "error", whose data is the problem.
    """

    __slots__ = ("_frame", "_stream")

    holds_body = True

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        status: int,
        content_type: str,
        frame: Frame,
        invocation_id: str,
        *,
        headers: ResponseHeaders = NO_HEADERS,
    ) -> None:
        if content_type == SSE:
            headers = {**_UNCACHED, **headers}
        super().__init__(status, content_type, headers, invocation_id)
        self._stream = stream
        self._frame = frame

    async def collect(self, limit: int) -> BytesResponse:
        """The response in one piece, of `limit` bytes at the most; the stream is closed then.

        Raises PayloadTooLarge, and what ends the stream early: InvocationError or Signal.
        """
        body = bytearray()
        try:
            async for item in self._stream:
                body += self._frame(item)
                if len(body) > limit:
                    raise PayloadTooLarge(len(body), limit)
        finally:
            await close_stream(self._stream)
        return BytesResponse(
            self.status, bytes(body), self.content_type, self.headers, self.invocation_id
        )

    async def write_eof(self) -> None:
        """Send it to the end of the stream, which is closed then."""
        request = self.request
        chunked = request.version >= HttpVersion11
        framing = b"\r\nTransfer-Encoding: chunked\r\n" if chunked else b"\r\n"
        head = self.encode_head(framing, ends=not chunked)
        try:
            if request.method == "HEAD":
                await request.connection.send(head)
            else:
                await self._send(head, _chunk if chunked else bytes)
        finally:
            if request.hold is not None:
                request.hold.release()
            await close_stream(self._stream)

    async def _send(self, head: bytes, chunk: Frame) -> None:
        send = self.request.connection.send
        unsent = head
        try:
            async for item in self._stream:
                if data := self._frame(item):  # An empty chunk would be the last one.
                    await send(unsent + chunk(data))
                    unsent = b""
                    self.body_length += len(data)
        except (InvocationError, Signal) as error:
            await self._fail(error, chunk, begun=not unsent)
        else:
            await send(unsent + chunk(b""))

    async def _fail(self, error: Failure, chunk: Frame, *, begun: bool) -> None:
        request, problem = self.request, problem_from(error)
        if not begun:
            response = problem_response(problem, request.target, self.invocation_id)
            response.answer(request)
            await response.write_eof()
            self.status, self.keep_alive = response.status, response.keep_alive
        elif self.content_type == SSE:
            data = encode_problem(problem, target_path(request.target), self.invocation_id)
            await request.connection.send(chunk(b"event: error\n" + _event(data)) + chunk(b""))
        else:
            request.connection.abort()
            raise ConnectionResetError("the stream failed after its response had begun")


def _chunk(data: bytes) -> bytes:
    """A chunk (RFC 9112, section 7.1); an empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
