"""The runtime of durable functions."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

from eventmesh.abc import Handler
from eventmesh.engine.function import require_python
from eventmesh.engine.runtimes.inline import InlineRuntime
from eventmesh.engine.spec import Environment, Implementation
from eventmesh.executions.native import NativeTurns, make_context
from eventmesh.executions.opening import open_keeper, receive_messages
from eventmesh.executions.revisions.fingerprint import find_revision


class DurableRuntime:
    """Runs coroutine functions as executions, whose state is in the store of their service."""

    def __init__(self) -> None:
        self._inline = InlineRuntime()

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        spec = require_python(function).spec
        keeper = open_keeper(spec, environment)
        revision = find_revision(require_python(function).handler, environment.revision)
        patterns = [each for source in spec.event_sources for each in source.patterns]
        inside = replace(environment, make_context=make_context)
        async with self._inline.open(function, inside) as inner:
            turns = NativeTurns(
                spec.full_name,
                inner,
                keeper,
                environment.clock,
                patterns=patterns,
                revision=revision,
            )
            async with receive_messages(spec, environment, keeper, turns, revision) as handler:
                yield handler
