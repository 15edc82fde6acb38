"""Decides which steps settle a delivery, and which ones replace a step that failed. No I/O.

All steps are done before the delivery is acknowledged: a crash in between makes a duplicate, never
a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from eventmesh.engine.codecs.envelope import outcome_record
from eventmesh.engine.settlement import (
    MoveToDeadLetters,
    MoveToInbox,
    ScheduleRetry,
    Settlement,
    build_retry,
    dead_letter,
    truncated,
)
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.errors import (
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
)
from eventmesh.model.event import event_headers
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import EVENTS, Route
from eventmesh.model.trace_context import caused_headers
from eventmesh.model.value import value


@value
class StoreRetry:
    """Store the message for another run; `spent` says whether the run that ended was an attempt."""

    message: Message
    delay: float
    spent: bool


@value
class StoreDeadLetter:
    """Store a dead letter. `refused` is why only a part of it is stored, if so."""

    message: Message
    refused: Exception | None = None


@value
class SendRecord:
    """Send a record of the outcome to a destination."""

    route: Route
    message: Message


@value
class WaitToRepeat:
    """Wait before the next step, which failed with `error`, is performed again."""

    error: Exception


@value
class DropRecord:
    """Give up a record: there is no such destination, or no broker would take the record."""

    error: Exception


Action: TypeAlias = StoreRetry | StoreDeadLetter | SendRecord | DropRecord
Step: TypeAlias = Action | WaitToRepeat


@value
class RunOutcome:
    """What a message's run ended with, at `now`.

    With `age_from_first_run`, the time before its first run does not count towards `max_age`.
    `record_id` is for the record of it.
    """

    function: FunctionSpec
    message: Message
    result: Result
    now: float
    age_from_first_run: bool
    record_id: str


def plan_steps(outcome: RunOutcome, settlement: Settlement) -> Sequence[Step]:
    """Return what has to be done, in order, before the delivery is acknowledged."""
    function = outcome.function
    match settlement:
        case ScheduleRetry():
            return [_plan_retry(outcome, settlement)]
        case MoveToInbox():
            moved = replace(outcome.message, timestamp=outcome.now)
            return [StoreRetry(moved, 0.0, spent=False)]
        case MoveToDeadLetters(reason=reason):
            dead = dead_letter(
                outcome.message, function.full_name, outcome.result.error, reason, outcome.now
            )
            return [StoreDeadLetter(dead), *_plan_record(outcome, function.on_failure, reason)]
        case _:
            return _plan_record(outcome, function.on_success, "")


def replace_step(step: Step, error: Exception, outcome: RunOutcome) -> Sequence[Step]:
    """Return the steps to perform instead of one that failed.

    A step that may succeed later is repeated: the run is not, for the sake of its settlement.
    """
    match step:
        case SendRecord() if isinstance(error, FunctionNotFound) or not is_temporary(error):
            return [DropRecord(error)]
        case StoreRetry() if not is_temporary(error):
            reason = f"it cannot be stored for another attempt: {error}"
            return plan_steps(outcome, MoveToDeadLetters(reason))
        case StoreDeadLetter(refused=None) if not is_temporary(error):
            return [StoreDeadLetter(truncated(step.message, error), error)]
        case _:
            return [WaitToRepeat(error), step]


def is_temporary(error: Exception) -> bool:
    """Whether the broker may take the same message later."""
    return isinstance(error, InvocationError) and not isinstance(
        error, (PayloadInvalid, PayloadTooLarge)
    )


def _plan_retry(outcome: RunOutcome, settlement: ScheduleRetry) -> StoreRetry:
    retry = build_retry(outcome.message, settlement, outcome.now)
    if outcome.age_from_first_run:
        retry = replace(retry, timestamp=outcome.now)
    return StoreRetry(retry, settlement.delay, settlement.spent)


def _plan_record(outcome: RunOutcome, route: Route | None, reason: str) -> Sequence[Step]:
    if route is None:
        return []
    name, request, now = outcome.function.full_name, outcome.message, outcome.now
    record = Message(
        body=outcome_record(name, request, outcome.result, reason, now),
        id=outcome.record_id,
        timestamp=now,
        headers=caused_headers(request.headers, request.id) | event_headers(f"/{name}", now),
        trigger="destination",
        caller=name,
        principal=request.principal,
        type=route.key if route.exchange == EVENTS else "",
    )
    return [SendRecord(route, record)]
