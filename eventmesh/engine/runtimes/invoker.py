"""How one run of a function goes: bind the arguments, call the handler, encode what comes back."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final

from eventmesh.abc import Handler
from eventmesh.engine.binding import Binder
from eventmesh.engine.binding.results import NOT_ENCODABLE
from eventmesh.engine.codecs.json import encode, function_error
from eventmesh.engine.context import Context
from eventmesh.engine.function import AnyFunction, Environment
from eventmesh.engine.runtimes.generators import ThreadedGenerator
from eventmesh.model.errors import (
    FunctionError,
    PartialFailure,
    PayloadInvalid,
    PayloadTooLarge,
    Signal,
)
from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.model.message import BYTES, JSON, MAX_BODY
from eventmesh.model.result import HANDLER_ERRORS, Failure, Response, Result, close

Arguments = dict[str, Any]

_invalid: Final = contextvars.ContextVar[dict[int, Failure]]("eventmesh_invalid")

_END: Final = object()
"""What comes after the last item."""


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
        except HANDLER_ERRORS as error:  # A validator of the user's own has a bug.
            return Result(b"", error=_failure(error))
        inject(arguments, invocation)
        try:
            result = await run(arguments, invocation)
        except HANDLER_ERRORS as error:
            return Result(b"", error=_failure(error))
        if len(result.body) > limit and invocation.mode == SYNC and invocation.http is None:
            return Result(b"", error=PayloadTooLarge(len(result.body), limit))
        return result

    return handle


def errors_as_results(handler: Handler) -> Handler:
    """Makes a failure of what the service's own middleware raises, as of what a handler does."""

    async def run(invocation: Invocation) -> Result:
        try:
            return await handler(invocation)
        except HANDLER_ERRORS as error:
            return Result(b"", error=_failure(error))

    return run


def batch_invoker(function: AnyFunction, environment: Environment) -> Handler:
    """The innermost handler of a batch: items that do not validate fail, the others are run."""
    bind = function.signature.for_batch()
    inject = _injector(function, environment)
    call = _caller(function, environment)

    async def handle(invocation: Invocation) -> Result:
        arguments, good, invalid = bind(invocation.batch or ())
        failures: dict[int, Failure] = dict(invalid)
        _invalid.get({}).update(invalid)
        if not good:
            return Result(failures=failures)
        inject(arguments, invocation)
        try:
            await call(**arguments)
        except PartialFailure as partial:
            failures |= _failed_items(partial, good)
        except HANDLER_ERRORS as error:
            failure = _failure(error)
            if len(good) == len(invocation.batch or ()):
                return Result(b"", error=failure)
            failures |= dict.fromkeys(good, failure)
        return Result(failures=failures or None)

    return handle


def collect_invalid_items() -> Mapping[int, Failure]:
    """Which items of the batch that this task runs next do not validate, as soon as that is known.

    That is true of them however the run ends. One that is out of time, or whose middleware raises,
    has a result that does not tell.
    """
    noted: dict[int, Failure] = {}
    _invalid.set(noted)
    return noted


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
    handler = function.handler
    if function.signature.is_async:
        return handler
    executor = environment.executors[function.full_name]

    def call(**arguments: Any) -> Awaitable[Any]:
        work = partial(_without_stop_iteration, handler, arguments)
        return asyncio.wrap_future(executor.submit(contextvars.copy_context().run, work))

    return call


def _without_stop_iteration(handler: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        return handler(**arguments)
    except StopIteration as error:
        # As in a coroutine (PEP 479). A future cannot carry it: whoever waits would do so for ever.
        raise RuntimeError("the handler raised StopIteration") from error


def _calling(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], Awaitable[Result]]:
    call = _caller(function, environment)
    encode_result = function.signature.encode
    content_type = BYTES if function.signature.result_type is bytes else JSON

    async def run(arguments: Arguments, _: Invocation) -> Result:
        returned = await call(**arguments)
        if isinstance(returned, Response):
            return _response(returned)
        try:
            return Result(encode_result(returned), content_type=content_type)
        except FunctionError as error:
            return Result(b"", error=error)

    return run


def _response(response: Response) -> Result:
    named = {name.lower(): text for name, text in response.headers.items()}
    content_type = named.get("content-type", response.content_type)
    content = response.content
    is_text = isinstance(content, str) and "json" not in content_type.lower()
    return Result(
        content.encode() if is_text else encode(content),
        content_type=content_type,
        status=response.status,
        headers=response.headers,
    )


def _streaming(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], Awaitable[Result]]:
    limit = function.limits.max_payload
    is_told = function.on_success is not None

    async def run(arguments: Arguments, invocation: Invocation) -> Result:
        items = _Encoded(function, _items(function, environment, arguments))
        try:
            if invocation.http is not None:
                await items.start()
            elif invocation.mode == SYNC:
                return Result(await _collected(items, limit))
            else:
                return Result(await _exhausted(items, kept=is_told))
        except (FunctionError, PayloadTooLarge, Signal) as error:
            await items.aclose()
            return Result(b"", error=error)
        except asyncio.CancelledError:
            await items.aclose()
            raise
        return Result(stream=items)

    return run


async def _collected(items: _Encoded, limit: int) -> bytes:
    """All items as one JSON list: what a caller by name gets of a stream."""
    chunks: list[bytes] = []
    size = 2
    async for chunk in items:
        item = items.as_json(chunk)
        size += len(item) + 1
        if size > limit:
            raise PayloadTooLarge(size, limit)
        chunks.append(item)
    return _listed(chunks)


async def _exhausted(items: _Encoded, *, kept: bool) -> bytes:
    """Make all items, however many: nobody waits for them, and no limit is to end them half-way.

    With `kept` they are one JSON list, for the record of the outcome. What is over the limit of
    every broker is not kept: the record is too large then, as that of any other value.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in items:
        if kept and size <= MAX_BODY:
            item = items.as_json(chunk, errors="replace")
            size += len(item)
            chunks.append(item)
    return _listed(chunks) if kept else b"null"


def _listed(chunks: list[bytes]) -> bytes:
    return b"[" + b",".join(chunks) + b"]"


def _items(
    function: AnyFunction, environment: Environment, arguments: Arguments
) -> AsyncIterator[Any]:
    items: Any = function.handler(**arguments)
    if function.signature.is_async:
        yielded: AsyncIterator[Any] = items
        return yielded
    return ThreadedGenerator(function, environment, items)


class _Encoded(AsyncIterator[bytes]):
    """The items of a stream, encoded. Whatever ends it early is raised as a `Failure`."""

    __slots__ = ("_ahead", "_function", "_items")

    def __init__(self, function: AnyFunction, items: AsyncIterator[Any]) -> None:
        self._function = function
        self._items = items
        self._ahead: list[bytes | None] = []

    async def start(self) -> None:
        """Make the first item, so that a handler that fails before it fails like any other."""
        self._ahead.append(await self._next())

    async def __anext__(self) -> bytes:
        chunk = self._ahead.pop() if self._ahead else await self._next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def _next(self) -> bytes | None:
        """The next item, encoded; None after the last."""
        try:
            item = await anext(self._items, _END)
        except HANDLER_ERRORS as error:
            raise _failure(error) from None
        if item is _END:
            return None
        try:
            return self._function.signature.encode_item(item)
        except FunctionError:
            raise
        except HANDLER_ERRORS as error:  # A serialiser of the user's own has a bug.
            raise _failure(error) from None

    def as_json(self, chunk: bytes, errors: str = "strict") -> bytes:
        """An encoded item as JSON, which it is unless it is bytes that the handler yielded."""
        signature = self._function.signature
        if signature.item_type is not bytes:
            return chunk
        try:
            return encode(chunk.decode(errors=errors))
        except UnicodeDecodeError as error:
            raise FunctionError(
                NOT_ENCODABLE,
                f"{signature.function}() yielded bytes that are no UTF-8 text, which only an HTTP "
                "caller can be sent",
            ) from error

    async def aclose(self) -> None:
        await close(self._items)


def _failed_items(partial: PartialFailure, good: list[int]) -> dict[int, Failure]:
    """What a handler says of the items it got, by their indexes in the whole batch."""
    items = dict(enumerate(good))
    for index in partial.failures:
        if index not in items:
            failure: Failure = FunctionError(
                "IndexError",
                f"PartialFailure names item {index!r}, but the handler got {len(good)} items",
            )
            return dict.fromkeys(good, failure)
    return {items[index]: _item_failure(why) for index, why in partial.failures.items()}


def _item_failure(why: Exception | str) -> Failure:
    if isinstance(why, BaseException):
        return _failure(why)
    return FunctionError("PartialFailure", str(why))


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
    return function_error(error.with_traceback(_of_handler(error.__traceback__)))


_OURS: Final = frozenset((__name__, ThreadedGenerator.__module__, "concurrent.futures.thread"))


def _of_handler(traceback: TracebackType | None) -> TracebackType | None:
    """The traceback from the handler on: how it came to be called is no help to its author."""
    inner = traceback
    while inner is not None and inner.tb_frame.f_globals.get("__name__") in _OURS:
        inner = inner.tb_next
    return inner or traceback
