"""The result of an invocation: a value, or one error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, TypeAlias, cast

from eventmesh.model.errors import InvocationError, Signal
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.value import constructor, value

Failure: TypeAlias = InvocationError | Signal

ResponseHeaders: TypeAlias = Mapping[str, str | Sequence[str]]
"""Headers by name; a header with several values, such as Set-Cookie, has a list or tuple."""

HANDLER_ERRORS: Final = (Exception, asyncio.CancelledError, SystemExit)
"""Exceptions that end a handler, but not the process."""


@value
class Result:
    """The outcome of one invocation.

    `error` is None if the handler succeeded; `body` is then the encoded value. A handler that
    yields has its encoded items in `stream` instead, which the receiver must exhaust or close.
    `failures` has the failed items of a batch by index. Only HTTP uses `status` and `headers`.
    """

    body: bytes = field(default=b"null", repr=False)
    error: Failure | None = None
    content_type: str = JSON
    status: int = 0
    headers: ResponseHeaders = field(default=NO_HEADERS, repr=False)
    failures: Mapping[int, Failure] | None = None
    stream: AsyncIterator[bytes] | None = None


make_result: Final = constructor(Result)
"""Build a Result by keyword, as fast as by position."""


@value
class Response:
    """A result with a status and headers for HTTP callers, which a handler may return.

    `content` is encoded like any value; bytes are sent unchanged. A header that is sent several
    times, such as Set-Cookie, has a list of its values. Other callers get only the content.
    `status` is from 200 to 599: what ends a request (RFC 9110, section 15.2).
    """

    content: Any = None
    status: int = 200
    headers: ResponseHeaders = NO_HEADERS
    content_type: str = JSON

    def __post_init__(self) -> None:
        """Raise ValueError for a status that ends no request.

        Raise TypeError for headers that are not a mapping of names to texts.
        """
        if not is_final_status(self.status):
            raise ValueError(
                f"Response(status={self.status!r}): write a status that ends a request, from 200 "
                "to 599"
            )
        given: object = self.headers
        if not isinstance(given, Mapping):
            raise TypeError(f"Response(headers=…) is a {type(given).__name__}: {_HEADERS_ADVICE}")
        for name, text in cast(Mapping[object, object], given).items():
            if not isinstance(name, str) or not _is_header(text):
                # Only the type of the text: it may be secret.
                what = f"{name!r}, a {type(text).__name__}"
                raise TypeError(f"Response(headers=…) has {what}: {_HEADERS_ADVICE}")


_FINAL: Final = range(200, 600)


def is_final_status(status: object) -> bool:
    """Whether it is a status that ends a request (RFC 9110, section 15)."""
    return isinstance(status, int) and not isinstance(status, bool) and status in _FINAL


_HEADERS_ADVICE: Final = (
    "write a mapping of strings, {'X-Total': '7'}; a header with several values has a list of "
    "them, {'Set-Cookie': [first, second]}"
)


def _is_header(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        values = cast(Sequence[object], value)
        return all(isinstance(text, str) for text in values)
    return isinstance(value, str)


def on_close(result: Result, release: Callable[[], None]) -> Result:
    """Call `release` once the result's stream has ended; at once if there is no stream."""
    if result.stream is None:
        release()
        return result
    return replace(result, stream=_ReleasingStream(result.stream, release))


class _ReleasingStream(AsyncIterator[bytes]):
    """A stream that calls `release` when it ends, fails or is closed, even before its first item.

    It is not an async generator, because that runs no `finally` if it is closed before its start.
    """

    __slots__ = ("_release", "_stream")

    def __init__(self, stream: AsyncIterator[bytes], release: Callable[[], None]) -> None:
        self._stream = stream
        self._release: Callable[[], None] | None = release

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._stream)
        except BaseException:
            self._release_once()
            raise

    async def aclose(self) -> None:
        try:
            await close_stream(self._stream)
        finally:
            self._release_once()

    def _release_once(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()


async def close_stream(stream: AsyncIterator[bytes]) -> None:
    """Close a stream that was not read to its end, so that its handler can clean up."""
    aclose: Callable[[], Awaitable[None]] | None = getattr(stream, "aclose", None)
    if aclose is not None:
        await aclose()
