"""Results in the form of InvokeWithResponseStream: parts while they come, then how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from eventmesh.engine.codecs.json import encode
from eventmesh.executions.aws.names import LATEST
from eventmesh.http.api.aws_lambda.event_stream import (
    EVENT_STREAM,
    encode_chunk,
    encode_complete,
)
from eventmesh.http.api.aws_lambda.responses import (
    REQUEST_ID,
    FinishedCall,
    describe_error,
    encode_log,
)
from eventmesh.http.protocol import LAMBDA_STREAMS
from eventmesh.http.server.streaming import StreamingResponse
from eventmesh.model.errors import InvocationError, Signal
from eventmesh.model.result import Failure, Result, close_stream

INVOKE_STREAMED: Final = f"{LAMBDA_STREAMS}/{{name}}/response-streaming-invocations"

UNHANDLED: Final = "Unhandled"

Complete = Callable[[Failure | None, bytes], Mapping[str, Any]]
"""Describes how a call has ended: given its error, and that as the function's runtime told it."""


def describe_end(
    finished: FinishedCall, timeout: float | None, *, shows_errors: bool
) -> dict[str, Any]:
    """Return the members of InvokeComplete, for a call whose stream has ended."""
    members: dict[str, Any] = {}
    if finished.result.error is not None:
        details = encode(describe_error(finished, timeout, shows_errors=shows_errors))
        members = {"ErrorCode": UNHANDLED, "ErrorDetails": details.decode()}
    if finished.tail is not None:
        members["LogResult"] = encode_log(finished, timeout)
    return members


def streamed_response(
    result: Result, frame: Callable[[bytes], bytes], id: str, complete: Complete
) -> StreamingResponse:
    """Build the response to a call whose function was run. `frame` makes bytes of an item."""
    headers = {REQUEST_ID: id, "X-Amz-Executed-Version": LATEST}
    events = _Events(result, frame, complete)
    return StreamingResponse(events, 200, EVENT_STREAM, bytes, id, headers=headers)


class _Events(AsyncIterator[bytes]):
    """The messages of a response. What ends its stream early is in the last one."""

    def __init__(self, result: Result, frame: Callable[[bytes], bytes], complete: Complete) -> None:
        self._result = result
        self._frame = frame
        self._complete = complete
        self._ended = False

    async def __anext__(self) -> bytes:
        if self._ended:
            raise StopAsyncIteration
        result = self._result
        if result.stream is None:
            self._ended = True
            chunk = encode_chunk(result.body) if result.error is None else b""
            return chunk + self._end(result.error, result.body)
        try:
            return encode_chunk(self._frame(await anext(result.stream)))
        except StopAsyncIteration:
            return self._end(None)
        except (InvocationError, Signal) as error:
            return self._end(error)

    def _end(self, error: Failure | None, body: bytes = b"") -> bytes:
        self._ended = True
        return encode_complete(self._complete(error, body))

    async def aclose(self) -> None:
        if self._result.stream is not None:
            await close_stream(self._result.stream)
