"""Opens what keeps the executions of one durable function, and what receives their messages."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Handler
from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.spec import Environment, FunctionSpec
from eventmesh.executions.handler import DurableHandler
from eventmesh.executions.revisions.watch import RevisionWatch
from eventmesh.executions.turns import Turns
from eventmesh.executions.upkeep.overdue import sweep
from eventmesh.model.errors import DeclarationError, StoreUnavailable
from eventmesh.model.limits import Durability

_log: Final = logging.getLogger(__name__)

DROP_SECONDS: Final = 6 * 3600.0
DROPPED: Final = 200
"""How often executions that ended long ago are dropped, and how many in one transaction."""


def open_keeper(spec: FunctionSpec, environment: Environment) -> Keeper:
    """Return what keeps the executions of a function. Raises DeclarationError without a store."""
    store = environment.stores.get(spec.service)
    if store is None:
        raise DeclarationError(
            f"{spec.full_name} is durable, and its service has no store: set EVENTMESH_STORE, "
            "or write Service(…, store='postgresql://…')"
        )
    return store.keep_executions(environment.transport)


@asynccontextmanager
async def receive_messages(
    spec: FunctionSpec,
    environment: Environment,
    keeper: Keeper,
    turns: Turns,
    revision: str = "",
) -> AsyncGenerator[Handler]:
    """Make executions of a function go on while entered, and drop those that ended long ago.

    Time counts for them even if a message is lost.

    `revision` is the version of the code; with "" executions are not kept to the version that began
    them.
    """
    watch = RevisionWatch(spec.full_name, revision, keeper, environment.clock)
    durability = spec.durability or Durability()
    handler = DurableHandler(
        spec.full_name,
        turns,
        keeper,
        environment.clock,
        transport=environment.transport,
        timeout=durability.execution_timeout,
        attempts=spec.retry.attempts,
        sources=spec.event_sources,
        watch=watch,
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(watch.watching())
        # Not in a test: its clock may move on by weeks at once, and its store does not grow old.
        if environment.revision is not None:
            dropping = _drop_ended(keeper, environment.clock, spec.full_name, durability.retention)
            await stack.enter_async_context(background_task(dropping))
            sweeping = sweep(keeper, environment.clock, spec.full_name)
            await stack.enter_async_context(background_task(sweeping))
        yield handler.handle


async def _drop_ended(keeper: Keeper, clock: Clock, function: str, retention: float) -> None:
    while True:
        await sleep(clock, DROP_SECONDS)
        try:
            while await keeper.drop_ended(function, clock.now() - retention, DROPPED) == DROPPED:
                pass
        except StoreUnavailable as error:
            _log.info("%s: executions that ended are dropped later: %s", function, error)
