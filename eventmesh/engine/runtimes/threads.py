"""The threads of one function, and what becomes of a run that nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from eventmesh.engine.spec import Abandon, FunctionSpec


class FunctionThreads:
    """The threads of one function: as many as may run at once, so that no run waits for one.

    A thread cannot be cancelled. A run that is cancelled is abandoned: until its thread has ended,
    it keeps its permit, and no other run is started in its place.
    """

    __slots__ = ("_abandon", "_executor")

    def __init__(self, executor: Executor, abandon: Callable[[], Callable[[], None]]) -> None:
        """`abandon` is called for a run that goes on, and what it returns once that has ended."""
        self._executor = executor
        self._abandon = abandon

    def submit(self, context: contextvars.Context, work: Callable[[], Any]) -> Future[Any]:
        """Start work in a thread, in that context."""
        return self._executor.submit(context.run, work)

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run work in a thread, in a copy of the current context, and wait for what it returns."""
        running = self.submit(contextvars.copy_context(), work)
        try:
            return await asyncio.wrap_future(running)
        except asyncio.CancelledError:
            self.abandon(running)
            raise

    def abandon(self, running: Future[Any], then: Callable[[], None] | None = None) -> bool:
        """Give work up. Returns whether its thread goes on, and keeps its permit until it ends.

        `then` is called in that thread after the work.
        """
        if running.done() or running.cancel():
            return False
        if then is not None:
            running.add_done_callback(lambda _: then())
        self.keep_permit(running)
        return True

    def keep_permit(self, running: Future[Any]) -> None:
        """Keep a permit for work that goes on when its run is over, until the work has ended."""
        end = partial(_call_in, asyncio.get_running_loop(), self._abandon())
        running.add_done_callback(lambda _: end())


@contextmanager
def open_threads(function: FunctionSpec, abandon: Abandon) -> Generator[FunctionThreads]:
    """Open the threads of a function, which are started as they are needed."""
    name = function.full_name
    executor = ThreadPoolExecutor(function.local_concurrency, thread_name_prefix=name)
    try:
        yield FunctionThreads(executor, partial(abandon, name))
    finally:
        # Without waiting: a thread cannot be cancelled, and one that hangs would block the loop.
        executor.shutdown(wait=False, cancel_futures=True)


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Have an event loop call `callback`, unless it is closed: then its process is ending."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(callback)
