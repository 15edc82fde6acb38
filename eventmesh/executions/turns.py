"""What runs the turns of executions: our own code, or whatever else knows the rules."""

from __future__ import annotations

from typing import Protocol

from eventmesh.durable.execution import Execution
from eventmesh.model.invocation import Invocation
from eventmesh.model.value import value


@value
class Turn:
    """A turn that has begun: its execution with all operations, and the token of its invocation.

    `news` are the operations that others than the code have changed since the turn before began.
    """

    execution: Execution
    token: str
    news: tuple[str, ...] = ()


class Turns(Protocol):
    """Runs the code of one durable function, a turn at a time."""

    def read_input(self, invocation: Invocation) -> str:
        """Return the input of the execution that an invocation begins."""
        ...

    async def run(self, turn: Turn, invocation: Invocation) -> Execution | None:
        """Run a turn, and return the execution as it is after it; None if the turn was replaced.

        It is cancelled at the deadline of the invocation. Raises InvocationError where it could
        not be run or recorded: the invocation is to be repeated.
        """
        ...
