"""One change of an execution: what every change does, and the life of its invocations."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eventmesh.durable.changes import Answer, Changes, Resume
from eventmesh.durable.errors import ExecutionEnded, StaleToken
from eventmesh.durable.event import Event, EventType, failure, payload
from eventmesh.durable.execution import FIRST_BACKOFF, MAX_BACKOFF, Execution, ExecutionStatus
from eventmesh.durable.operation import ErrorObject, Operation, OperationStatus

_ENDINGS: Mapping[ExecutionStatus, tuple[EventType, OperationStatus]] = {
    "SUCCEEDED": ("ExecutionSucceeded", "SUCCEEDED"),
    "FAILED": ("ExecutionFailed", "FAILED"),
    "TIMED_OUT": ("ExecutionTimedOut", "TIMED_OUT"),
    "STOPPED": ("ExecutionStopped", "STOPPED"),
}

_DIED = ErrorObject("the process ended before the invocation did", "Runtime.ExitError")
_NOTHING_TO_WAIT_FOR = ErrorObject(
    "the invocation ended with PENDING, and no operation is open that would resume it",
    "InvalidParameterValueException",
)


class Transition:
    """Changes an execution at the time `now`, and collects what is to be stored in `changes`.

    Where a method raises, the execution may have been changed in part: drop it, and load it again.
    """

    __slots__ = ("changes", "execution", "now")

    def __init__(self, execution: Execution, now: float) -> None:
        self.execution = execution
        self.now = now
        self.changes = Changes()

    # What every change is made of.

    def put(self, operation: Operation, *, outside: bool) -> Operation:
        """Record an operation as it is now; `outside` tells that not the code changed it."""
        self.execution.change += 1
        changed = replace(operation, changed=self.execution.change, outside=outside)
        self.execution.operations[operation.id] = changed
        self.changes.operations[operation.id] = changed
        return changed

    def record(
        self, type: EventType, details: Mapping[str, Any], operation: Operation | None = None
    ) -> None:
        """Append an event to the history."""
        self.execution.last_event += 1
        event = Event(self.execution.last_event, type, self.now, details)
        if operation is not None:
            event = replace(
                event,
                operation=operation.id,
                name=operation.name,
                parent=operation.parent,
                subtype=operation.subtype,
            )
        self.changes.events.append(event)

    def count(self, *texts: str | None) -> None:
        """Count what is recorded against the limits of an execution."""
        self.execution.size += sum(len(text.encode()) for text in texts if text)

    def request_turn(self, delay: float = 0.0) -> None:
        """Ask for an invocation, unless one runs, is asked for, or may not be."""
        execution = self.execution
        if execution.is_ended or execution.running or execution.requested:
            return
        if execution.status != "RUNNING":
            execution.owed = True
            return
        execution.turn += 1
        execution.requested = True
        self.changes.commands.append(Resume(execution.turn, delay))

    def end(
        self,
        status: ExecutionStatus,
        result: str | None = None,
        error: ErrorObject | None = None,
    ) -> None:
        """End the execution. Raises ExecutionEnded if it has ended."""
        execution = self.execution
        if execution.is_ended:
            raise ExecutionEnded(f"the execution {execution.id} has ended: {execution.status}")
        execution.status, execution.ended = status, self.now
        execution.result, execution.error = result, error
        event, outcome = _ENDINGS[status]
        details = (
            {"Result": payload(result)} if status == "SUCCEEDED" else {"Error": failure(error)}
        )
        self.record(event, details)
        if execution.caller:
            self.changes.commands.append(
                Answer(execution.caller, execution.caller_operation, outcome, result, error)
            )

    # The life of its invocations.

    def start(self) -> None:
        """Begin the execution: the first event, and the first invocation."""
        execution = self.execution
        details: dict[str, Any] = {"Input": payload(execution.payload)}
        if execution.timeout is not None:
            details["ExecutionTimeout"] = execution.timeout
        self.record("ExecutionStarted", details)
        self.request_turn()

    def begin_invocation(self, turn: int, request_id: str) -> bool:
        """Begin the invocation of a turn. Returns whether the code is to be run.

        It is not for a turn that ended, or for an execution that has ended or is paused. A turn
        that runs already is begun anew: its message is delivered again only if its process died, or
        lost its connection and may record nothing any more.
        """
        execution = self.execution
        if execution.is_ended or turn != execution.turn:
            return False
        if execution.running:
            self._complete_invocation(_DIED)
        elif not execution.requested:
            return False
        execution.requested = False
        execution.dead_letter = ""
        if execution.status != "RUNNING":
            execution.owed = True
            self._pause_now()
            return False
        execution.running = True
        execution.fence += 1
        execution.checkpoint = 0
        execution.last_request = ""
        execution.begun = execution.told = execution.told_before = execution.change
        execution.invocation_started, execution.request_id = self.now, request_id
        return True

    def end_invocation(
        self,
        token: str,
        status: ExecutionStatus | None,
        result: str | None = None,
        error: ErrorObject | None = None,
    ) -> None:
        """End the invocation that has this token, with what its code returned.

        `status` is None if the code waits. Raises StaleToken for an invocation that was replaced.
        """
        self.check_fence(token)
        self._complete_invocation(error if status == "FAILED" else None)
        self.execution.failures = 0
        if self.execution.is_ended:
            return
        if status is not None:
            self.end(status, result, error)
        elif self._is_news_left():
            self.request_turn()
        elif not self.execution.waits:
            self.end("FAILED", error=_NOTHING_TO_WAIT_FOR)
        self._pause_now()

    def fail_invocation(self, token: str, error: ErrorObject) -> None:
        """End an invocation that had no outcome: it is repeated after a pause, which doubles.

        Raises StaleToken for an invocation that was replaced.
        """
        self.check_fence(token)
        self._complete_invocation(error)
        execution = self.execution
        delay = min(FIRST_BACKOFF * 2.0 ** min(execution.failures, 16), MAX_BACKOFF)
        execution.failures += 1
        self.request_turn(delay)
        self._pause_now()

    def note_dead_letter(self, turn: int, id: str, reason: str) -> bool:
        """Note that a turn becomes the dead letter `id`, which begins it once it is redriven.

        What an invocation of it recorded before stays; it may record nothing more. Returns whether
        the turn was still to be done.
        """
        execution = self.execution
        if execution.is_ended or turn != execution.turn:
            return False
        if execution.running:
            self._complete_invocation(
                ErrorObject(
                    f"{reason}; the turn is the dead letter {id} of {execution.function}",
                    "Execution.TurnDeadLettered",
                )
            )
            execution.requested = True
        elif not execution.requested:
            return False
        execution.dead_letter = id
        self._pause_now()
        return True

    # The token of a checkpoint.

    @property
    def token(self) -> str:
        """What the next checkpoint of the invocation must have."""
        text = f"{self.execution.fence}.{self.execution.checkpoint}"
        return base64.b64encode(text.encode()).decode()

    def check_fence(self, token: str) -> int:
        """Return the number of checkpoints that the token knows of.

        Raises StaleToken if it is of an invocation that was replaced or has ended.
        """
        try:
            fence, checkpoint = map(int, base64.b64decode(token, validate=True).split(b"."))
        except ValueError:
            raise StaleToken("Invalid checkpoint token: it is none of this API's") from None
        if not self.execution.running or fence != self.execution.fence:
            raise StaleToken("Invalid checkpoint token: the invocation was replaced, or has ended")
        return checkpoint

    def take_token(self, token: str, request: bytes) -> bool:
        """Use up a token for this request. Returns False if the last checkpoint was the same.

        Raises StaleToken for a token that was used for another request.
        """
        execution = self.execution
        digest = hashlib.sha256(request).hexdigest()
        known = self.check_fence(token)
        if known == execution.checkpoint - 1 and digest == execution.last_request:
            return False
        if known != execution.checkpoint:
            raise StaleToken("Invalid checkpoint token: it was used before")
        execution.checkpoint += 1
        execution.last_request = digest
        return True

    # What an operator does.

    def stop(self, error: ErrorObject | None) -> None:
        """End the execution; what runs may record nothing more. Raises ExecutionEnded."""
        self.end("STOPPED", error=error)

    def pause(self, reason: str = "", *, with_timeout: bool = False) -> None:
        """Begin no invocation until `resume`; `with_timeout` stops the execution's time too.

        The invocation that runs goes on to its end. Raises ExecutionEnded.
        """
        execution = self.execution
        self._check_open()
        if execution.status != "RUNNING":
            return
        execution.status = "PAUSING"
        execution.paused, execution.pause_reason = self.now, reason
        execution.timeout_paused = with_timeout
        self._pause_now()

    def resume(self, reason: str = "") -> None:
        """End a pause. Raises ExecutionEnded.

        If it is not paused, and its turn was asked for and has not begun, that is asked for anew:
        the message may be lost, or be a dead letter.
        """
        execution = self.execution
        self._check_open()
        if execution.paused is None:
            if execution.requested:
                execution.requested, execution.dead_letter = False, ""
                self.request_turn()
            return
        if execution.timeout_paused:
            execution.paused_seconds += self.now - execution.paused
        execution.status, execution.paused = "RUNNING", None
        self.record(
            "ExecutionResumed",
            {"ResumeRequestTimestamp": self.now, "Reason": {"Payload": reason, "Truncated": False}},
        )
        if execution.owed:
            execution.owed = False
            self.request_turn()

    def _pause_now(self) -> None:
        execution = self.execution
        if execution.status != "PAUSING" or execution.running:
            return
        execution.status = "PAUSED"
        self.record(
            "ExecutionPaused",
            {
                "PauseRequestTimestamp": execution.paused,
                "Reason": {"Payload": execution.pause_reason, "Truncated": False},
                "ExecutionTimeoutPaused": execution.timeout_paused,
            },
        )

    def _check_open(self) -> None:
        if self.execution.is_ended:
            raise ExecutionEnded(
                f"the execution {self.execution.id} has ended: {self.execution.status}"
            )

    def _complete_invocation(self, error: ErrorObject | None) -> None:
        execution = self.execution
        execution.running = False
        details: dict[str, Any] = {
            "StartTimestamp": execution.invocation_started,
            "EndTimestamp": self.now,
            "RequestId": execution.request_id,
        }
        if error is not None:
            details["Error"] = failure(error)
        self.record("InvocationCompleted", details)

    def _is_news_left(self) -> bool:
        # Also what a checkpoint told: the part of the code that waits for it may have ended before.
        return any(
            operation.outside and operation.changed > self.execution.begun
            for operation in self.execution.operations.values()
        )
