"""Notes in an execution that its turn becomes a dead letter."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from eventmesh.durable.completion import DURABLE, TURN
from eventmesh.durable.errors import DurableError, ExecutionNotFound
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.executions.callers.starting import execution_id
from eventmesh.executions.messages.contents import EXECUTION_HEADER, read_content, send_commands
from eventmesh.model.errors import InvocationError, PayloadInvalid
from eventmesh.model.message import Message

_log: Final = logging.getLogger(__name__)

NoteDeadLetter: TypeAlias = Callable[[Message, str], Awaitable[None]]
"""Gets a message that is about to be a dead letter, and the reason."""


def note_dead_turns(function: FunctionSpec, context: SourceContext) -> NoteDeadLetter | None:
    """Build what notes that a turn of a durable function becomes a dead letter.

    None for a function that is not durable.
    """
    if function.durability is None:
        return None
    store = context.environment.stores.get(function.service)
    if store is None:
        return None
    name, keeper = function.full_name, store.keep_executions(context.environment.transport)

    async def note(message: Message, reason: str) -> None:
        found = _find_turn(message, name)
        if found is None:
            return
        execution, turn = found
        try:
            await _note(keeper, execution, turn, message.id, reason)
        except ExecutionNotFound:
            return  # It never began, or was dropped.
        except (DurableError, InvocationError) as error:
            _log.warning("%s: that %s is a dead letter is not noted: %s", name, message.id, error)

    return note


async def _note(keeper: Keeper, execution: str, turn: int, letter: str, reason: str) -> None:
    async with keeper.change(execution) as change:
        if not change.transition.note_dead_letter(turn, letter, reason):
            return
        await send_commands(change)
    _log.error(
        "%s: the execution %s waits until its turn, the dead letter %s, is redriven: %s",
        change.execution.function,
        execution,
        letter,
        reason,
    )


def _find_turn(message: Message, function: str) -> tuple[str, int] | None:
    """Return the execution and the turn that a message of the function's inbox is, if it is one."""
    if message.trigger != DURABLE:
        # What begins an execution is its first turn, too.
        id = message.headers.get(EXECUTION_HEADER, "")
        return id or execution_id(function, message.id, message.trigger), 1
    if message.type != TURN or message.caller != function:
        return None  # A stranger's word about an execution is no reason to hold it.
    try:
        content = read_content(message.body)
    except PayloadInvalid:
        return None
    return content.execution, content.turn
