"""Runs the turns of durable functions that are coroutine functions of this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Final

from eventmesh.abc import Handler, Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.completion import DURABLE
from eventmesh.durable.errors import DurableError, StaleToken
from eventmesh.durable.execution import Execution, ExecutionStatus
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.context import Context
from eventmesh.engine.store import ServiceStore
from eventmesh.executions.context import DurableContext
from eventmesh.executions.errors import describe_failure
from eventmesh.executions.session import Session
from eventmesh.executions.turns import Turn
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)

_session: Final[ContextVar[Session | None]] = ContextVar("eventmesh_durable_session", default=None)


def make_context(
    invocation: Invocation,
    transport: Transport,
    clock: Clock,
    outgoing: Outgoing | None,
    store: ServiceStore,
) -> Context:
    """Make the context of a turn, for its handler."""
    del store  # Its executions are kept in there; the code has transactions in steps alone.
    session = _session.get()
    if session is None:
        raise RuntimeError(f"{invocation.function} runs outside of a turn")
    return DurableContext(invocation, transport, clock, outgoing, session=session)


class NativeTurns:
    """Runs the code `inner` of a durable function, in a session for each turn."""

    def __init__(
        self,
        function: str,
        inner: Handler,
        keeper: Keeper,
        clock: Clock,
        *,
        patterns: Sequence[str] = (),
        revision: str = "",
    ) -> None:
        """`patterns` are those of the events that come to the function.

        `revision` is the version of the code.
        """
        self._revision = revision
        self._patterns = patterns
        self._function = function
        self._inner = inner
        self._keeper = keeper
        self._clock = clock

    def read_input(self, invocation: Invocation) -> str:
        return invocation.payload.decode()

    async def run(self, turn: Turn, invocation: Invocation) -> Execution | None:
        session = Session(
            self._keeper,
            self._clock,
            turn.execution,
            turn.token,
            patterns=self._patterns,
            revision=self._revision,
        )
        resumed = replace(
            invocation,
            payload=(turn.execution.payload or "").encode(),
            type="",
            trigger="invoke" if invocation.trigger == DURABLE else invocation.trigger,
            attempt=1,
        )
        result = await self._run_code(session, resumed)
        if session.failure is not None and not isinstance(session.failure, DurableError):
            raise session.failure
        return await self._end_turn(session, result)

    async def _run_code(self, session: Session, invocation: Invocation) -> Result | None:
        """Run the code of a turn; None if it waits."""
        _session.set(session)
        async with session.recording(), asyncio.TaskGroup() as group:
            running = group.create_task(_gather(self._inner, invocation))
            session.lead(running)
            await asyncio.wait([running])
        if session.suspended or running.cancelled():
            return None
        return running.result()

    async def _end_turn(self, session: Session, result: Result | None) -> Execution | None:
        status: ExecutionStatus | None = None
        body, error = None, None
        if result is not None and result.error is None:
            status, body = "SUCCEEDED", result.body.decode()
        elif result is not None and result.error is not None:
            status, error = "FAILED", describe_failure(result.error)
        try:
            return await session.finish(status, body, error)
        except StaleToken as stale:
            _log.warning("%s: %s: what the turn did is dropped", self._function, stale)
            return None


async def _gather(handler: Handler, invocation: Invocation) -> Result:
    return await handler(invocation)
