"""Makes time count for executions whose message for that does not come.

The message that an execution sleeps by may be lost with its queue, or be a dead letter. The store
knows when it was due: so no execution outlasts its timeout by more than a few minutes.
"""

from __future__ import annotations

import logging
from typing import Final

from eventmesh.aio.clock import Clock, sleep
from eventmesh.durable.errors import ExecutionNotFound
from eventmesh.durable.keeper import Keeper
from eventmesh.durable.timers import advance
from eventmesh.executions.messages.contents import send_commands
from eventmesh.model.errors import InvocationError

_log: Final = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 60.0
"""Seconds from one look to the next."""

OVERDUE_SECONDS: Final = 60.0
"""How late a message is before it counts as lost: one that waits behind others only does its work
a second time, which changes nothing."""

SWEPT: Final = 200
"""How many executions are found at once."""


async def sweep(keeper: Keeper, clock: Clock, function: str) -> None:
    """Look again and again for executions of a function that are overdue. Never returns."""
    while True:
        await sleep(clock, SWEEP_SECONDS)
        try:
            while await advance_overdue(keeper, clock, function) == SWEPT:
                pass
        except InvocationError as error:
            _log.info("%s: executions that are overdue are looked for later: %s", function, error)


async def advance_overdue(keeper: Keeper, clock: Clock, function: str) -> int:
    """Do what is due in executions of a function that are overdue; return how many were found.

    Raises StoreUnavailable and BrokerUnavailable.
    """
    before = clock.now() - OVERDUE_SECONDS
    overdue = await keeper.list_overdue(function, before, SWEPT)
    for id in overdue:
        try:
            async with keeper.change(id) as change:
                wake = change.execution.wake
                # Another process may have done it since it was found.
                if wake is not None and wake < before:
                    change.execution.wake = None
                    advance(change.transition)
                    await send_commands(change)
        except ExecutionNotFound:
            continue
    return len(overdue)
