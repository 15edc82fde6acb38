"""Runs plain functions in the thread of the event loop, in a process that does nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

from eventmesh.abc import Handler
from eventmesh.engine.function import require_python
from eventmesh.engine.runtimes.invoker import build_handler
from eventmesh.engine.spec import Environment, Implementation


class DirectRuntime:
    """Runs handlers that are plain functions, or generator functions, one at a time.

    The event loop stands still meanwhile. That is the main thread, which some libraries insist on,
    and whoever wants to end the run ends the process.
    """

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        handler: Callable[..., Any] = python.handler

        async def call(**arguments: Any) -> Any:
            # A StopIteration becomes a RuntimeError, because this is a coroutine (PEP 479).
            return handler(**arguments)

        async def iterate(**arguments: Any) -> AsyncIterator[Any]:
            items: Iterator[Any] = handler(**arguments)
            try:
                for item in items:
                    yield item
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()

        yield build_handler(python, environment, call, iterate)
