"""An execution: one run of a durable function, over all of its invocations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from eventmesh.durable.operation import ErrorObject, Operation

ExecutionStatus: TypeAlias = Literal[
    "RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED", "PAUSING", "PAUSED"
]
ENDED_STATUSES: Final[frozenset[ExecutionStatus]] = frozenset(
    ("SUCCEEDED", "FAILED", "TIMED_OUT", "STOPPED")
)

# How much one may record, so that its state can be loaded for each invocation.
MAX_OPERATIONS: Final = 3000
"""Operations of one execution."""

MAX_BYTES: Final = 100 * 1024 * 1024
"""Bytes of payloads, results and errors that one execution records."""

MAX_DURATION: Final = 31_622_400
"""Seconds of a wait or of a pause before the next attempt: 366 days, as AWS Lambda has it."""

MAX_TIMEOUT: Final = 99_999_999
"""Seconds of a callback's timeouts, as AWS Lambda has it."""

FIRST_BACKOFF: Final = 1.0
MAX_BACKOFF: Final = 60.0
"""Seconds before an invocation that ended without an outcome is repeated; doubled each time."""


@dataclass(slots=True)
class Execution:
    """The state of one execution. Only a `Transition` changes it.

    `version` is that of the AWS API, and `revision` that of the code that began it, "" if it is not
    known. Times are in seconds since the epoch, and durations in seconds. `caller`,
    `caller_operation` and `caller_function` are the execution that invoked it, the operation there
    that waits for it, and that execution's function; "" if none does. `tenant` is for whom its
    caller says that it works, as AWS Lambda has it. `headers` are those that its invocations and
    what they cause have: its trace and its correlation id. `principal` is the identity of what
    began it, encoded as messages carry it, "" for nobody's: it acts as that one in every turn,
    whoever lets it go on.

    `turn` counts the invocations that were asked for, and `fence` those that began: one that is
    delivered again after its process died has the same turn and a new fence. `fence` and
    `checkpoint`, the number of checkpoints that it made, are the token that the next checkpoint
    must have, so that a process that was given up records nothing any more. `last_request` is the
    digest of the last checkpoint: repeated after a lost connection, it changes nothing.

    `operations` may be a part of all: those that are open, those that changed since the invocation
    began, and those that a change is about. `count` is how many there are, and `size` the bytes of
    what is recorded. `change` counts the changes of operations. `begun` is its value when the
    invocation began: what others change after that, the invocation may not have noticed. `told` is
    its value when the last checkpoint was answered, and `told_before` at the one before: an answer
    has what changed since then. `owed` tells that an invocation must follow: it was asked for
    while the execution is paused. `dead_letter` is the id of the dead letter that its turn became,
    which begins it once redriven; "" for none. `wake` is when a message comes that makes time
    count; it may be later than what is due, until one is sent.
    """

    id: str
    name: str
    function: str
    version: str
    started: float
    revision: str = ""
    timeout: int | None = None
    payload: str | None = field(default=None, repr=False)
    caller: str = ""
    caller_operation: str = ""
    caller_function: str = ""
    tenant: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    principal: str = field(default="", repr=False)
    status: ExecutionStatus = "RUNNING"
    ended: float | None = None
    result: str | None = field(default=None, repr=False)
    error: ErrorObject | None = None
    operations: dict[str, Operation] = field(default_factory=dict[str, Operation], repr=False)
    count: int = 0
    size: int = 0
    last_event: int = 0
    change: int = 0
    begun: int = 0
    told: int = 0
    told_before: int = 0
    turn: int = 0
    fence: int = 0
    checkpoint: int = 0
    running: bool = False
    requested: bool = False
    wake: float | None = None
    owed: bool = False
    dead_letter: str = ""
    failures: int = 0
    invocation_started: float | None = None
    request_id: str = ""
    last_request: str = field(default="", repr=False)
    paused: float | None = None
    pause_reason: str = ""
    timeout_paused: bool = False
    paused_seconds: float = 0.0

    @property
    def service(self) -> str:
        """The name of the service of its function."""
        return self.function.partition(".")[0]

    @property
    def is_ended(self) -> bool:
        """Whether it changes no more."""
        return self.status in ENDED_STATUSES

    @property
    def expires(self) -> float | None:
        """When it times out; None without a limit, and while a pause holds the limit."""
        if self.timeout is None or (self.timeout_paused and self.paused is not None):
            return None
        return self.started + self.timeout + self.paused_seconds

    @property
    def next_due(self) -> float | None:
        """When time changes it, if nothing else does before; None if it does not."""
        if self.is_ended:
            return None
        times = [operation.next_due for operation in self.operations.values()]
        times.append(self.expires)
        return min((time for time in times if time is not None), default=None)

    @property
    def waits(self) -> bool:
        """Whether an operation is open that something else than its code will end."""
        return any(
            operation.next_due is not None
            or (operation.type in {"CALLBACK", "CHAINED_INVOKE"} and not operation.is_ended)
            for operation in self.operations.values()
        )
