"""Executions for the tests of durable functions, and what one does with them."""

from collections.abc import Sequence
from typing import Any

from eventmesh.durable.callback_id import new_callback_id
from eventmesh.durable.changes import Changes
from eventmesh.durable.checkpoint import record_checkpoint
from eventmesh.durable.event import Event
from eventmesh.durable.execution import Execution
from eventmesh.durable.operation import ErrorObject, OperationUpdate
from eventmesh.durable.timers import advance
from eventmesh.durable.transition import Transition

STEP = OperationUpdate("s", "STEP", "START", name="charge", subtype="Step")
STEP_DONE = OperationUpdate("s", "STEP", "SUCCEED", payload='"paid"')
WAIT = OperationUpdate("w", "WAIT", "START", duration=60)
CALLBACK = OperationUpdate("c", "CALLBACK", "START", name="approval")
CALL = OperationUpdate("i", "CHAINED_INVOKE", "START", function="ship", payload="7")


class Run:
    """One execution, and a time that the test sets. Keeps all events."""

    def __init__(self, **fields: Any) -> None:
        self.execution = Execution("e1", "order-7", "orders.place", "$LATEST", 1000.0, **fields)
        self.now = 1000.0
        self.history: list[Event] = []
        self.changes = Changes()
        self.token = ""
        self.do(Transition.start)

    def transition(self) -> Transition:
        return Transition(self.execution, self.now)

    def do(self, change: Any, *arguments: Any, **options: Any) -> Any:
        """Make one change, such as `Transition.stop` or `succeed_callback`."""
        transition = self.transition()
        result = change(transition, *arguments, **options)
        self.changes = transition.changes
        self.history += transition.changes.events
        return result

    def begin(self, turn: int | None = None) -> bool:
        begun: bool = self.do(
            Transition.begin_invocation, self.execution.turn if turn is None else turn, "request"
        )
        self.token = self.transition().token
        return begun

    def checkpoint(self, *updates: OperationUpdate, token: str | None = None) -> bool:
        used = self.token if token is None else token
        goes_on: bool = self.do(record_checkpoint, used, updates, repr(updates).encode())
        self.token = self.transition().token
        return goes_on

    def finish(self, *arguments: Any, **options: Any) -> None:
        """End the invocation: no argument if the code waits."""
        self.do(Transition.end_invocation, self.token, *(arguments or (None,)), **options)

    def fail(self, error: ErrorObject) -> None:
        """End the invocation without an outcome."""
        self.do(Transition.fail_invocation, self.token, error)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(advance)

    def callback(self, operation: str = "c") -> str:
        """The id of a callback; one that nobody has, if there is no such callback."""
        found = self.execution.operations.get(operation)
        unknown = new_callback_id(self.execution, operation)
        return unknown if found is None else found.callback_id or unknown

    def complete(self, change: Any, operation: str, *arguments: Any) -> None:
        """Complete a callback, or send its heartbeat."""
        self.do(change, self.callback(operation), *arguments)

    @property
    def events(self) -> list[str]:
        """The types of all events."""
        return [event.type for event in self.history]

    @property
    def commands(self) -> Sequence[Any]:
        """What the last change asks for."""
        return self.changes.commands


def suspended(*updates: OperationUpdate, **fields: Any) -> Run:
    """An execution whose first invocation recorded these updates, and waits."""
    run = Run(**fields)
    run.begin()
    run.checkpoint(*updates)
    run.finish()
    return run
