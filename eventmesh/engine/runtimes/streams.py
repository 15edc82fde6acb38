"""One run of a handler that yields: its items are encoded one by one, when they are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from eventmesh.engine.binding import Signature
from eventmesh.engine.binding.results import NOT_ENCODABLE
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.model.errors import FunctionError, PayloadTooLarge, Signal
from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.model.message import MAX_BODY
from eventmesh.model.result import HANDLER_ERRORS, Result, close_stream

_END: Final = object()
"""What comes after the last item."""


def build_stream_run(
    signature: Signature, limit: int, *, keep: bool
) -> Callable[[AsyncIterator[Any], Invocation], Awaitable[Result]]:
    """Build what makes results of the items that handlers yield.

    Who takes a stream gets one, any other synchronous caller one JSON list of `limit` bytes at
    the most. With `keep` that list is also the result of an asynchronous run.
    """

    async def run(yielded: AsyncIterator[Any], invocation: Invocation) -> Result:
        items = _EncodedItems(signature, yielded)
        try:
            if invocation.takes_stream:
                await items.start()
            elif invocation.mode == SYNC:
                return Result(await _collect(items, limit))
            else:
                return Result(await _exhaust(items, keep=keep))
        except (FunctionError, PayloadTooLarge, Signal) as error:
            await items.aclose()
            return Result(b"", error=error)
        except asyncio.CancelledError:
            await items.aclose()
            raise
        return Result(stream=items)

    return run


async def _collect(items: _EncodedItems, limit: int) -> bytes:
    """Return all items as one JSON list, which a caller by name gets."""
    chunks: list[bytes] = []
    size = 2
    async for chunk in items:
        item = items.as_json(chunk)
        size += len(item) + 1
        if size > limit:
            raise PayloadTooLarge(size, limit)
        chunks.append(item)
    return _json_list(chunks)


async def _exhaust(items: _EncodedItems, *, keep: bool) -> bytes:
    """Make all items of an asynchronous run: no limit of the result ends it half-way.

    With `keep`, return them as one JSON list for the record of the outcome. Items over the limit of
    every broker are not kept: the record is then too large, as for any other value.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in items:
        if keep and size <= MAX_BODY:
            item = items.as_json(chunk, errors="replace")
            size += len(item)
            chunks.append(item)
    return _json_list(chunks) if keep else b"null"


def _json_list(chunks: list[bytes]) -> bytes:
    return b"[" + b",".join(chunks) + b"]"


class _EncodedItems(AsyncIterator[bytes]):
    """The items of a stream, encoded. Whatever ends it early is raised as a `Failure`."""

    __slots__ = ("_ahead", "_items", "_signature")

    def __init__(self, signature: Signature, items: AsyncIterator[Any]) -> None:
        self._signature = signature
        self._items = items
        self._ahead: list[bytes | None] = []

    async def start(self) -> None:
        """Make the first item, so that a handler which fails before it fails like any other."""
        self._ahead.append(await self._next())

    async def __anext__(self) -> bytes:
        chunk = self._ahead.pop() if self._ahead else await self._next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def _next(self) -> bytes | None:
        """Return the next item, encoded; None after the last one."""
        try:
            item = await anext(self._items, _END)
        except HANDLER_ERRORS as error:
            raise failure_from(error) from None
        if item is _END:
            return None
        try:
            return self._signature.encode_item(item)
        except FunctionError:
            raise
        except HANDLER_ERRORS as error:  # A serialiser of the user's own has a bug.
            raise failure_from(error) from None

    def as_json(self, chunk: bytes, errors: str = "strict") -> bytes:
        """Return an encoded item as JSON: bytes that the handler yielded become a string."""
        signature = self._signature
        if signature.item_type is not bytes:
            return chunk
        try:
            return encode(chunk.decode(errors=errors))
        except UnicodeDecodeError as error:
            raise FunctionError(
                NOT_ENCODABLE,
                f"{signature.function}() yielded bytes that are not UTF-8 text, which can be "
                "sent to HTTP callers only",
            ) from error

    async def aclose(self) -> None:
        await close_stream(self._items)
