"""Runs plain functions in threads, as many as may run at once."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from eventmesh.abc import Handler
from eventmesh.engine.function import require_python
from eventmesh.engine.runtimes.invoker import Arguments, build_handler
from eventmesh.engine.runtimes.threaded_generator import ThreadedGenerator
from eventmesh.engine.spec import Environment, FunctionSpec, Implementation


class ThreadRuntime:
    """Runs handlers that are plain functions, or generator functions.

    Each function has its own threads. A thread cannot be cancelled: it continues after its run was
    cancelled, and until it ends no other run gets it.
    """

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        handler: Callable[..., Any] = python.handler
        with _open_threads(python.spec) as executor:

            def call(**arguments: Any) -> Awaitable[Any]:
                work = partial(_call_without_stop_iteration, handler, arguments)
                return asyncio.wrap_future(executor.submit(contextvars.copy_context().run, work))

            def iterate(**arguments: Any) -> AsyncIterator[Any]:
                name, clock = python.full_name, environment.clock
                return ThreadedGenerator(name, handler(**arguments), executor, clock)

            yield build_handler(python, environment, call, iterate)


@contextmanager
def _open_threads(function: FunctionSpec) -> Generator[Executor]:
    executor = ThreadPoolExecutor(function.local_concurrency, thread_name_prefix=function.full_name)
    try:
        yield executor
    finally:
        # Without waiting: a thread cannot be cancelled, and one that hangs would block the loop.
        executor.shutdown(wait=False, cancel_futures=True)


def _call_without_stop_iteration(handler: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        return handler(**arguments)
    except StopIteration as error:
        # As in a coroutine (PEP 479). A future cannot carry it: the caller would wait for ever.
        raise RuntimeError("the handler raised StopIteration") from error
