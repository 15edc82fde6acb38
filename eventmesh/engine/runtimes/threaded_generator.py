"""Runs the code of plain generators in the threads of their function."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.engine.runtimes.threads import FunctionThreads
from eventmesh.model.result import HANDLER_ERRORS

CLOSE_SECONDS: Final = 10.0
"""How long a stream that ends early waits for the end of its generator."""

_END: Final = object()
"""The item after the last: a StopIteration cannot pass from a thread to a coroutine."""

_log: Final = logging.getLogger(__name__)


class ThreadedGenerator(AsyncIterator[Any]):
    """The items of a generator that runs in threads, one step at a time and in one context."""

    __slots__ = ("_abandoned", "_clock", "_context", "_items", "_name", "_step", "_threads")

    def __init__(
        self, name: str, items: Generator[Any], threads: FunctionThreads, clock: Clock
    ) -> None:
        """`name` is the function's, for the log; `threads` are those it runs in."""
        self._name = name
        self._items = items
        self._threads = threads
        self._clock = clock
        self._context = contextvars.copy_context()
        self._step: Future[Any] | None = None
        self._abandoned = False

    async def __anext__(self) -> Any:
        step = self._submit(partial(next, self._items, _END))
        try:
            item = await asyncio.wrap_future(step)
        except asyncio.CancelledError:
            # Nothing is read from it after that, so the thread closes it when its step ends.
            self._abandoned = self._threads.abandon(step, then=self._close_in_context)
            raise
        if item is _END:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        """Close the generator, whose remaining code runs in one of its threads.

        Waits for that, CLOSE_SECONDS at most, unless a step was given up that still runs: then the
        generator is closed in that thread when the step ends. Raises what the generator raises
        meanwhile; what it raises later is logged.
        """
        step = self._step
        if not self._abandoned and step is not None and not step.done():
            self._abandoned = self._threads.abandon(step, then=self._close_in_context)
        if self._abandoned:
            return
        if inspect.getgeneratorstate(self._items) != inspect.GEN_SUSPENDED:
            self._items.close()  # No code of it runs: it was never started, or has ended.
        elif step is not None and step.cancelled():
            self._leave(self._submit(self._close_unattended))
        else:
            await self._close_in_time()

    async def _close_in_time(self) -> None:
        ending = self._submit(self._items.close)
        closing = asyncio.wrap_future(ending)
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
            self._leave(ending)
        except asyncio.CancelledError:
            self._leave(ending)
            raise
        else:
            closing.result()

    def _leave(self, ending: Future[Any]) -> None:
        """Let the end of the generator run, without waiting for it."""
        self._abandoned = True
        self._threads.keep_permit(ending)

    def _close_in_context(self) -> None:
        self._context.run(self._close_unattended)

    def _close_unattended(self) -> None:
        try:
            self._items.close()
        except HANDLER_ERRORS:
            _log.exception("%s: a generator failed while it was closed", self._name)

    def _submit(self, call: Callable[[], Any]) -> Future[Any]:
        self._step = self._threads.submit(self._context, call)
        return self._step
