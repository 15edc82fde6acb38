"""The operations of an execution: what its code did, and waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final, Literal, TypeAlias

from eventmesh.durable.subscription import Subscription
from eventmesh.model.value import value

OperationType: TypeAlias = Literal[
    "EXECUTION", "CONTEXT", "STEP", "WAIT", "CALLBACK", "CHAINED_INVOKE"
]
OperationStatus: TypeAlias = Literal[
    "STARTED", "PENDING", "READY", "SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "STOPPED"
]
OperationAction: TypeAlias = Literal["START", "SUCCEED", "FAIL", "RETRY", "CANCEL"]

ENDED: Final[frozenset[OperationStatus]] = frozenset(
    ("SUCCEEDED", "FAILED", "CANCELLED", "TIMED_OUT", "STOPPED")
)
"""An operation with one of these changes no more."""


@value
class ErrorObject:
    """An error as it is recorded: of a step, a context, a callback, or of the execution."""

    message: str | None = None
    type: str | None = None
    data: str | None = field(default=None, repr=False)
    stack_trace: tuple[str, ...] | None = field(default=None, repr=False)


@value
class Operation:
    """One operation, as it is now. Times are in seconds since the epoch, durations in seconds.

    `attempt` is how many attempts of a step have ended. `due` is when time changes it next: the end
    of a wait, the next attempt of a step, the timeout of a callback; `heartbeat_due` is when a
    callback is given up without a heartbeat. A callback with a `subscription` is completed by an
    `event`, whose id that is then. `changed` is the number of its last change among all
    of the execution, and `outside` tells that others made it than the function's code: time, the
    sender of a callback, or the function that was invoked.
    """

    id: str
    type: OperationType
    status: OperationStatus
    started: float
    name: str = ""
    parent: str = ""
    subtype: str = ""
    ended: float | None = None
    payload: str | None = field(default=None, repr=False)
    result: str | None = field(default=None, repr=False)
    error: ErrorObject | None = None
    replay_children: bool = False
    attempt: int = 0
    duration: int = 0
    due: float | None = None
    callback_id: str = field(default="", repr=False)
    timeout: int = 0
    heartbeat_timeout: int = 0
    heartbeat_due: float | None = None
    function: str = ""
    tenant: str = ""
    subscription: Subscription | None = None
    event: str = ""
    changed: int = 0
    outside: bool = False

    @property
    def is_ended(self) -> bool:
        """Whether it changes no more."""
        return self.status in ENDED

    @property
    def next_due(self) -> float | None:
        """When time changes it, if nothing else does before; None if it does not."""
        if self.is_ended or self.status == "READY":
            return None
        times = [time for time in (self.due, self.heartbeat_due) if time is not None]
        return min(times, default=None)


@value
class OperationUpdate:
    """What the code of a function asks to have recorded. Durations are in seconds."""

    id: str
    type: OperationType
    action: OperationAction
    name: str = ""
    parent: str = ""
    subtype: str = ""
    payload: str | None = field(default=None, repr=False)
    error: ErrorObject | None = None
    replay_children: bool = False
    next_attempt_delay: int = 1
    duration: int = 1
    timeout: int = 0
    heartbeat_timeout: int = 0
    function: str = ""
    tenant: str = ""
    subscription: Subscription | None = None


ALLOWED_ACTIONS: Final[Mapping[OperationType, frozenset[OperationAction]]] = {
    "EXECUTION": frozenset(("SUCCEED", "FAIL")),
    "CONTEXT": frozenset(("START", "SUCCEED", "FAIL")),
    "STEP": frozenset(("START", "SUCCEED", "FAIL", "RETRY")),
    "WAIT": frozenset(("START", "CANCEL")),
    "CALLBACK": frozenset(("START",)),
    "CHAINED_INVOKE": frozenset(("START",)),
}
"""What an update may do to an operation of each type."""
