"""What a transition of an execution changed, and what must be done about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from eventmesh.durable.event import Event
from eventmesh.durable.operation import ErrorObject, Operation, OperationStatus
from eventmesh.model.value import value


@value
class Resume:
    """Invoke the execution's function, `delay` seconds from now, as turn number `turn`."""

    turn: int
    delay: float = 0.0


@value
class Call:
    """Invoke another function; its outcome ends the operation that has this id.

    If that is a durable function too, its execution gets the id `execution`.
    """

    operation: str
    execution: str
    function: str
    payload: str | None = field(default=None, repr=False)
    tenant: str = ""


@value
class Answer:
    """Tell the calling execution how this one ended."""

    execution: str
    operation: str
    status: OperationStatus
    result: str | None = field(default=None, repr=False)
    error: ErrorObject | None = None


Command: TypeAlias = Resume | Call | Answer


@dataclass(slots=True)
class Changes:
    """To be stored together: operations that changed by id, new events, and commands to send."""

    operations: dict[str, Operation] = field(default_factory=dict[str, Operation])
    events: list[Event] = field(default_factory=list[Event])
    commands: list[Command] = field(default_factory=list[Command])
