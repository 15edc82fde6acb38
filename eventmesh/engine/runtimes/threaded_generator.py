"""Generators that are no coroutines: their code runs in the threads of their function."""

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
"""For how long a stream that ends early waits until its generator is closed."""

_END: Final = object()
"""What comes after the last item: a StopIteration cannot cross from a thread into a coroutine."""

_log: Final = logging.getLogger(__name__)


class ThreadedGenerator(AsyncIterator[Any]):
    """The items of a generator that runs in threads, a step at a time, always in one context."""

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
        """Close the generator, which runs what code of it is left in one of its threads.

        That is waited for, CLOSE_SECONDS at the most, unless its thread is busy: it is then closed
        when the step ends that nobody waits for any more, or when a thread is free again. Raises
        what the generator does while it is waited for; later, that is logged.
        """
        step = self._step
        if step is not None and not step.done():
            step.add_done_callback(lambda _: self._context.run(self._close_unattended))
        elif inspect.getgeneratorstate(self._items) != inspect.GEN_SUSPENDED:
            self._items.close()  # No code of it runs: it was never begun, or has ended.
        elif step is not None and step.cancelled():
            self._step = self._executor.submit(self._context.run, self._close_unattended)
        else:
            await self._close_in_time()

    async def _close_in_time(self) -> None:
        closing = self._in_thread(self._items.close)
        try:
            with TimeLimit(self._clock, CLOSE_SECONDS):
                await asyncio.wait((closing,))  # Which does not cancel it: it has to run.
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
