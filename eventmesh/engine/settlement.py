"""Decides from a result how its message is settled. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from eventmesh.engine.codecs.envelope import dump_error
from eventmesh.engine.codecs.json import truncate_middle
from eventmesh.model.broker import MAX_HEADERS_BYTES
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    PayloadInvalid,
    PayloadTooLarge,
    Reject,
    RetryLater,
    StoreUnavailable,
    Throttled,
)
from eventmesh.model.message import Message
from eventmesh.model.result import Failure
from eventmesh.model.retry import Retry
from eventmesh.model.value import value

FIRST_FAILURE: Final = "em-first-failure"
LAST_FAILURE: Final = "em-last-failure"
ERROR_TYPE: Final = "em-error-type"
ERROR_MESSAGE: Final = "em-error-message"
TRACEBACK: Final = "em-traceback"
REASON: Final = "em-reason"
FUNCTION: Final = "em-function"
DEAD_LETTER_HEADERS: Final = frozenset(
    (FIRST_FAILURE, LAST_FAILURE, ERROR_TYPE, ERROR_MESSAGE, TRACEBACK, REASON, FUNCTION)
)
"""The headers that a dead letter has beside its own; a redrive removes them."""

MAX_TRACEBACK: Final = 16 * 1024
MAX_REASON: Final = 2 * 1024
"""Characters of a traceback, and of an error's message or a reason, kept with a dead letter."""

MAX_HAND_BACKS: Final = 10
"""Losses after which a message that is handed back is stored anew: a broker may count a hand-back
as a loss, and no message may be taken for one that kills its process because of hand-backs."""

MAX_CRASHES: Final = 20
"""Losses, beside MAX_HAND_BACKS, after which a message counts as one that kills its process.

So many because a broker also counts what was prefetched beside the culprit: with a process killed
every second, one message in thousands is hit six times.
"""

_TRUNCATED_REASON: Final = 400
_TRUNCATED_WORD: Final = 60
"""Characters of the reason, and of each word beside it, in a truncated dead letter: together they
stay under MIN_HEADERS_BYTES, so that every broker takes it."""

BROKER_PAUSE: Final = 1.0
"""Seconds after which something that the broker would not do is tried again: a store, or a run that
lacked it. Long enough that a broker which refuses is not asked all the time."""

LONGEST_BROKER_PAUSE: Final = 15.0
"""Seconds between two tries to store the same settlement, at most."""


@value
class Ack:
    """The run succeeded: acknowledge the message."""


@value
class ScheduleRetry:
    """Store it for another run in `delay` seconds; `spent` says whether this one was an attempt."""

    delay: float
    spent: bool = True


@value
class MoveToDeadLetters:
    """Store it as a dead letter, for `reason`."""

    reason: str


@value
class MoveToInbox:
    """Store it in the function's inbox, from a queue of another system, and run it from there.

    The inbox counts how often a message loses the process that runs it.
    """


Settlement: TypeAlias = Ack | ScheduleRetry | MoveToDeadLetters | MoveToInbox

ACK: Final = Ack()
MOVE_TO_INBOX: Final = MoveToInbox()


def decide_settlement(error: Failure | None, attempt: int, age: float, policy: Retry) -> Settlement:
    """Return the settlement of an asynchronous invocation that ended with `error`, or None.

    `attempt` is the number of the run that ended, and `age` how old the invocation is in seconds.
    """
    # Of Throttled, BrokerUnavailable, PayloadInvalid, PayloadTooLarge and AccessDenied, only those
    # of the engine itself come here. One that a handler lets through is a FunctionError
    # (`failure_from`), and so spends an attempt. StoreUnavailable is its own service's, or tells
    # that another's is away: both pass.
    match error:
        case None:
            return ACK
        case Reject() | PayloadInvalid() | PayloadTooLarge() | AccessDenied():
            return MoveToDeadLetters(str(error))
        case Throttled():
            retry = ScheduleRetry(error.retry_after, spent=False)
        case BrokerUnavailable() | StoreUnavailable():
            retry = ScheduleRetry(BROKER_PAUSE, spent=False)
        case RetryLater(after=float() | int() as after):
            retry = ScheduleRetry(float(after))
        case _:
            retry = ScheduleRetry(policy.delay(attempt))
    if retry.spent and attempt >= policy.attempts:
        return MoveToDeadLetters(f"all {policy.attempts} attempts failed")
    if age + retry.delay > policy.max_age:
        return MoveToDeadLetters(f"older than {policy.max_age:g} s before it succeeded")
    return retry


def decide_refusal(losses: int, age: float, policy: Retry) -> MoveToDeadLetters | None:
    """Return the settlement of a delivery that must not be run, or None if it may be run.

    It is too old, or it kills the process that runs it: at most MAX_HAND_BACKS of the `losses` are
    none. `age` is in seconds.
    """
    if losses > MAX_HAND_BACKS + MAX_CRASHES:
        return MoveToDeadLetters(
            f"delivered {losses + 1} times and never acknowledged: it kills its process"
        )
    if age > policy.max_age:
        return MoveToDeadLetters(f"older than {policy.max_age:g} s before it was run")
    return None


def repeat_pauses() -> Iterator[float]:
    """Yield the seconds to wait before each further try to store a settlement, without end.

    They double from BROKER_PAUSE to LONGEST_BROKER_PAUSE, less a random part of up to a half: what
    waits for the same broker does not come back at the same moment.
    """
    pause = BROKER_PAUSE
    while True:
        yield random.uniform(pause / 2, pause)  # noqa: S311 it spreads load
        pause = min(pause * 2, LONGEST_BROKER_PAUSE)


def build_retry(message: Message, retry: ScheduleRetry, now: float) -> Message:
    """Return the message of the next run."""
    headers = dict(message.headers)
    headers.setdefault(FIRST_FAILURE, f"{now:.3f}")
    if not retry.spent:
        return replace(message, headers=headers)
    return replace(message, attempt=message.attempt + 1, redeliveries=0, headers=headers)


def dead_letter(
    message: Message, function: str, error: Failure | None, reason: str, now: float
) -> Message:
    """Return the message to store as a dead letter, with its function and the failure.

    The return address is left out: no caller waits, and some clients that show queues close their
    connection if it is not text.
    """
    headers = dict(message.headers)
    headers.setdefault(FIRST_FAILURE, f"{now:.3f}")
    headers |= {
        LAST_FAILURE: f"{now:.3f}",
        REASON: truncate_middle(reason, MAX_REASON),
        FUNCTION: function,
    }
    if error is not None:
        fields = dump_error(error)
        headers |= {
            ERROR_TYPE: truncate_middle(str(fields.get("type", fields["code"])), MAX_REASON),
            ERROR_MESSAGE: truncate_middle(str(error), MAX_REASON),
            TRACEBACK: truncate_middle(str(fields.get("traceback", "")), MAX_TRACEBACK),
        }
    return replace(message, headers=_fitting(headers), reply_to="", correlation_id="")


def _fitting(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Drop headers until the rest fits: those about the error first, then the largest others."""
    sizes = {name: _size(name) + _size(text) + 6 for name, text in headers.items()}
    excess = sum(sizes.values()) - MAX_HEADERS_BYTES
    if excess <= 0:
        return headers
    kept = dict(headers)
    senders = sorted(headers.keys() - DEAD_LETTER_HEADERS, key=sizes.__getitem__, reverse=True)
    for name in (TRACEBACK, ERROR_MESSAGE, *senders):
        if excess > 0 and kept.pop(name, None) is not None:
            excess -= sizes[name]
    return kept


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def truncated(dead: Message, error: Exception) -> Message:
    """Return the part of a dead letter refused with `error` that any broker takes.

    The sender's headers are left out, and so is a body that is too large.
    """
    reason = f"{dead.headers[REASON]}; only a part of it could be stored: {error}"
    kept = (FIRST_FAILURE, LAST_FAILURE, ERROR_TYPE)
    headers = {name: dead.headers[name][:_TRUNCATED_WORD] for name in kept if name in dead.headers}
    headers |= {
        FUNCTION: dead.headers[FUNCTION],
        REASON: truncate_middle(reason, _TRUNCATED_REASON),
    }
    return replace(
        dead,
        body=b"" if isinstance(error, PayloadTooLarge) else dead.body,
        headers=headers,
        trigger=dead.trigger[:_TRUNCATED_WORD],
        caller="",
        principal="",  # Cut short it would be somebody else's.
    )


def reset_for_redrive(message: Message, now: float) -> Message:
    """Return the message for a new first attempt, without the headers of the failure."""
    headers = without_provenance(message.headers)
    return replace(message, attempt=1, redeliveries=0, timestamp=now, headers=headers)


def without_provenance(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the message's own headers."""
    return {name: text for name, text in headers.items() if name not in DEAD_LETTER_HEADERS}
