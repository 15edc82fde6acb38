"""Runs plain functions in threads, as many as may run at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from eventmesh.abc import Handler
from eventmesh.engine.function import require_python
from eventmesh.engine.runtimes.invoker import Arguments, build_handler
from eventmesh.engine.runtimes.threaded_generator import ThreadedGenerator
from eventmesh.engine.runtimes.threads import open_threads
from eventmesh.engine.spec import Environment, Implementation


class ThreadRuntime:
    """Runs handlers that are plain functions, or generator functions.

    Each function has its own threads. A thread cannot be cancelled: it continues after its run was
    cancelled, and until it has ended the run keeps its permit and its mesh-wide slot.
    """

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        handler: Callable[..., Any] = python.handler
        with open_threads(python.spec, environment.abandon) as threads:

            def call(**arguments: Any) -> Awaitable[Any]:
                return threads.run(partial(_call_without_stop_iteration, handler, arguments))

            def iterate(**arguments: Any) -> AsyncIterator[Any]:
                name, clock = python.full_name, environment.clock
                return ThreadedGenerator(name, handler(**arguments), threads, clock)

            yield build_handler(python, environment, call, iterate)


def _call_without_stop_iteration(handler: Callable[..., Any], arguments: Arguments) -> Any:
    try:
        return handler(**arguments)
    except StopIteration as error:
        # As in a coroutine (PEP 479). A future cannot carry it: the caller would wait for ever.
        raise RuntimeError("the handler raised StopIteration") from error
