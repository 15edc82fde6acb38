"""How callbacks are completed: by whoever has their ids."""

from __future__ import annotations

from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.completion import Completion
from eventmesh.durable.keeper import Keeper
from eventmesh.durable.outcomes import fail_callback, keep_callback, succeed_callback
from eventmesh.executions.messages.contents import send_commands


async def complete_callback(keeper: Keeper, completion: Completion) -> None:
    """Complete a callback, or take its heartbeat.

    Raises CallbackNotOpen for one that is not there or has ended, ExecutionNotFound and
    StoreUnavailable.
    """
    id = completion.callback
    place = read_callback_id(id)
    async with keeper.change(place.execution, [place.operation]) as change:
        transition = change.transition
        if completion.heartbeat:
            keep_callback(transition, id)
        elif completion.error is not None:
            fail_callback(transition, id, completion.error.to_value())
        else:
            succeed_callback(transition, id, completion.result)
        await send_commands(change)
