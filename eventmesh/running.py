"""How one run of a function goes: bind the arguments, call the handler, encode what comes back."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Final

from eventmesh.abc import Handler
from eventmesh.binding import Binder
from eventmesh.codecs.json import encode, failed
from eventmesh.context import Context
from eventmesh.errors import (
    FunctionError,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Signal,
)
from eventmesh.function import AnyFunction, Environment
from eventmesh.invocation import Invocation
from eventmesh.result import Failure, Response, Result, close

Arguments = dict[str, Any]

RAISED: Final = (Exception, asyncio.CancelledError, SystemExit)
"""What a handler may end with that does not end the process."""

_END: Final = object()
"""What `next` gives in a thread at the end: a StopIteration cannot cross into a coroutine."""


def invoker(function: AnyFunction, environment: Environment, bind: Binder) -> Handler:
    """The innermost handler of a function whose arguments `bind` takes from the invocation."""
    run = (
        _streaming(function, environment)
        if function.signature.is_stream
        else _calling(function, environment)
    )
    inject = _injector(function, environment)
    limit = function.limits.max_payload

    async def handle(invocation: Invocation) -> Result:
        if len(invocation.payload) > limit:
            return Result(b"", error=PayloadTooLarge(len(invocation.payload), limit))
        try:
            arguments = bind(invocation)
        except PayloadInvalid as error:
            return Result(b"", error=error)
        inject(arguments, invocation)
        try:
            return await run(arguments, invocation)
        except RAISED as error:
            return Result(b"", error=_failure(error))

    return handle


def batch_invoker(function: AnyFunction, environment: Environment) -> Handler:
    """The innermost handler of a batch: items that do not validate fail, the others are run."""
    bind = function.signature.for_batch()
    inject = _injector(function, environment)
    call = _caller(function, environment)

    async def handle(invocation: Invocation) -> Result:
        arguments, good, invalid = bind(invocation.batch or ())
        failures: dict[int, Failure] = dict(invalid)
        if not good:
            return Result(failures=failures)
        inject(arguments, invocation)
        try:
            await call(**arguments)
        except PartialFailure as partial:
            failures |= _failed_items(partial, good)
        except RAISED as error:
            failure = _failure(error)
            if len(good) == len(invocation.batch or ()):
                return Result(b"", error=failure)
            failures |= dict.fromkeys(good, failure)
        return Result(failures=failures or None)

    return handle


def _injector(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], None]:
    """Adds to the arguments what is not in the payload: the context and the resources."""
    name = function.signature.context
    available = environment.resources.get(function.service, {})
    resources = {
        parameter: available[kind] for parameter, kind in function.signature.resources.items()
    }
    transport, clock = environment.transport, environment.clock

    def inject(arguments: Arguments, invocation: Invocation) -> None:
        if resources:
            arguments.update(resources)
        if name is not None:
            arguments[name] = Context(invocation, transport, clock)

    return inject


def _caller(function: AnyFunction, environment: Environment) -> Callable[..., Awaitable[Any]]:
    """Calls the handler: in the event loop, or in one of the function's threads."""
    if function.signature.is_async:
        return function.handler
    return functools.partial(_in_thread, function, environment, function.handler)


def _in_thread(
    function: AnyFunction, environment: Environment, call: Callable[..., Any], **arguments: Any
) -> Awaitable[Any]:
    context = contextvars.copy_context()
    executor = environment.executors[function.full_name]
    work = functools.partial(context.run, call, **arguments)
    return asyncio.get_running_loop().run_in_executor(executor, work)


def _calling(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], Awaitable[Result]]:
    call = _caller(function, environment)
    encode_result = function.signature.encode

    async def run(arguments: Arguments, _: Invocation) -> Result:
        returned = await call(**arguments)
        if isinstance(returned, Response):
            return _response(returned)
        try:
            return Result(encode_result(returned))
        except FunctionError as error:
            return Result(b"", error=error)

    return run


def _response(response: Response) -> Result:
    return Result(
        encode(response.content),
        content_type=response.content_type,
        status=response.status,
        headers=response.headers,
    )


def _streaming(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], Awaitable[Result]]:
    limit = function.limits.max_payload

    async def run(arguments: Arguments, invocation: Invocation) -> Result:
        items = _Encoded(function, _items(function, environment, arguments))
        try:
            if invocation.http is None:
                return Result(await _collected(items, limit))
            await items.start()
        except (FunctionError, PayloadTooLarge, Signal) as error:
            return Result(b"", error=error)
        return Result(stream=items)

    return run


async def _collected(items: _Encoded, limit: int) -> bytes:
    """All items as one JSON list: what a caller that is not HTTP gets of a stream."""
    chunks: list[bytes] = []
    size = 2
    try:
        async for chunk in items:
            size += len(chunk) + 1
            if size > limit:
                raise PayloadTooLarge(size, limit)
            chunks.append(chunk)
    finally:
        await items.aclose()
    return b"[" + b",".join(chunks) + b"]"


def _items(
    function: AnyFunction, environment: Environment, arguments: Arguments
) -> AsyncIterator[Any]:
    items: Any = function.handler(**arguments)
    if function.signature.is_async:
        yielded: AsyncIterator[Any] = items
        return yielded
    return _from_thread(function, environment, items)


async def _from_thread(
    function: AnyFunction, environment: Environment, items: Iterator[Any]
) -> AsyncGenerator[Any]:
    try:
        while True:
            item = await _in_thread(function, environment, lambda: next(items, _END))
            if item is _END:
                return
            yield item
    finally:
        close_items = getattr(items, "close", None)
        if close_items is not None:
            close_items()


class _Encoded(AsyncIterator[bytes]):
    """The items of a stream, encoded. Whatever ends it early is raised as a `Failure`."""

    __slots__ = ("_encode", "_first", "_items")

    def __init__(self, function: AnyFunction, items: AsyncIterator[Any]) -> None:
        self._encode = function.signature.encode_item
        self._items = items
        self._first: tuple[Any] | None = None

    async def start(self) -> None:
        """Fetch the first item, so that a handler that fails before it fails like any other."""
        self._first = (await self._next(),)

    async def __anext__(self) -> bytes:
        if self._first is None:
            item = await self._next()
        else:
            (item,), self._first = self._first, None
        if item is _END:
            raise StopAsyncIteration
        return self._encode(item)

    async def _next(self) -> Any:
        try:
            return await anext(self._items, _END)
        except RAISED as error:
            raise _failure(error) from error

    async def aclose(self) -> None:
        await close(self._items)


def _failed_items(partial: PartialFailure, good: list[int]) -> dict[int, Failure]:
    failures: dict[int, Failure] = {}
    for index, reason in partial.failures.items():
        if not 0 <= index < len(good):
            failure: Failure = FunctionError(
                "IndexError",
                f"PartialFailure names item {index}, but the handler got {len(good)} items",
            )
            return dict.fromkeys(good, failure)
        failures[good[index]] = (
            FunctionError("PartialFailure", reason) if isinstance(reason, str) else _failure(reason)
        )
    return failures


def _failure(error: BaseException) -> Failure:
    """What a handler raised, as the error of its result.

    A cancellation from outside goes on; one that the handler brought upon itself, say by awaiting
    something that was cancelled, is a failure like others.
    """
    if isinstance(error, Signal):
        return error
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise error
    return failed(error)
