"""Runs coroutine functions in the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from eventmesh.abc import Handler
from eventmesh.engine.function import require_python
from eventmesh.engine.runtimes.invoker import build_handler
from eventmesh.engine.spec import Environment, Implementation


class InlineRuntime:
    """Runs handlers that are coroutine functions, or async generator functions."""

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        handler: Any = python.handler
        yield build_handler(python, environment, handler, handler)
