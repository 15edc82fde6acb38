"""How executions begin: their ids and names, and what is begun once alone."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from eventmesh.durable.errors import ExecutionNameTaken
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Keeper
from eventmesh.executions.messages.contents import send_commands

_RANDOM: Final = re.compile(r"[0-9a-f]{32}")
_ID_LENGTH: Final = 32


def execution_id(function: str, invocation: str, trigger: str) -> str:
    """Return the id of the execution that an invocation begins, the same each time it is delivered.

    It is that of the invocation, unless others may have that too: of an event each function gets a
    copy, and who sends may choose an id.
    """
    if trigger != "event" and _RANDOM.fullmatch(invocation):
        return invocation
    return _derive_id("invocation", function, invocation)


def named_execution_id(function: str, name: str) -> str:
    """Return the id of the execution of that name, the same each time it is begun."""
    return _derive_id("name", function, name)


def repeated_execution_id(function: str, principal: str, call: str, payload: bytes) -> str:
    """Return the id of the execution that all attempts of one call of a client begin."""
    return _derive_id("call", function, principal, call, hashlib.sha256(payload).hexdigest())


def _derive_id(*parts: str) -> str:
    text = "\n".join(parts).encode(errors="replace")
    return hashlib.sha256(text).hexdigest()[:_ID_LENGTH]


async def begin_execution(keeper: Keeper, execution: Execution) -> Execution:
    """Begin an execution, whose first turn is a message, and return it as it is kept.

    Begun again, with the same id and input, it is as it was left. Raises ExecutionNameTaken if it
    has another input, or another execution its name.
    """
    # What is shown of it must also find it: times have milliseconds in AWS's API, and clients that
    # ask for what began after this one send no more than microseconds.
    execution.started = round(execution.started, 3)
    async with keeper.create(execution) as change:
        if change is not None:
            change.transition.start()
            await send_commands(change)
            return change.execution
    known = await keeper.read(execution.id)
    if (known.function, known.payload) != (execution.function, execution.payload):
        raise ExecutionNameTaken(
            f"{execution.function} has an execution with the name {execution.name!r} and another "
            "input: take another name"
        )
    return known
