"""Runs the code of plain generators in the threads of their function."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Final

from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.model.result import HANDLER_ERRORS

CLOSE_SECONDS: Final = 10.0
"""How long a stream that ends early waits for the end of its generator."""

_END: Final = object()
"""The item after the last: a StopIteration cannot pass from a thread to a coroutine."""

_log: Final = logging.getLogger(__name__)


class ThreadedGenerator(AsyncIterator[Any]):
    """The items of a generator that runs in threads, one step at a time and in one context."""

    __slots__ = ("_clock", "_context", "_executor", "_items", "_name", "_step")

    def __init__(self, name: str, items: Generator[Any], executor: Executor, clock: Clock) -> None:
        """`name` is the function's, for the log; `executor` has its threads."""
        self._name = name
        self._items = items
        self._executor = executor
        self._clock = clock
        self._context = contextvars.copy_context()
        self._step: Future[Any] | None = None

    async def __anext__(self) -> Any:
        item = await self._in_thread(partial(next, self._items, _END))
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the generator, whose remaining code runs in one of its threads.

        Waits for that, CLOSE_SECONDS at most, unless the thread is busy: then the generator is
        closed when the current step ends, or when a thread is free again. Raises what the generator
        raises meanwhile; what it raises later is logged.
        """
        step = self._step
        if step is not None and not step.done():
            step.add_done_callback(lambda _: self._context.run(self._close_unattended))
        elif inspect.getgeneratorstate(self._items) != inspect.GEN_SUSPENDED:
            self._items.close()  # No code of it runs: it was never started, or has ended.
        elif step is not None and step.cancelled():
            self._step = self._executor.submit(self._context.run, self._close_unattended)
        else:
            await self._close_in_time()

    async def _close_in_time(self) -> None:
        closing = self._in_thread(self._items.close)
        try:
            with TimeLimit(self._clock, CLOSE_SECONDS):
                await asyncio.wait((closing,))  # This wait does not cancel it: it has to run.
        except TimeoutError:
            _log.warning(
                "%s: a stream is not waited for any more: its generator was not closed within "
                "%g s, because its threads are busy or its clean-up takes long",
                self._name,
                CLOSE_SECONDS,
            )
        else:
            closing.result()

    def _close_unattended(self) -> None:
        try:
            self._items.close()
        except HANDLER_ERRORS:
            _log.exception("%s: a generator failed while it was closed", self._name)

    def _in_thread(self, call: Callable[[], Any]) -> asyncio.Future[Any]:
        self._step = self._executor.submit(self._context.run, call)
        return asyncio.wrap_future(self._step)
