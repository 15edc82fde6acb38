"""Checks for what no code has any more: pure functions from what was found to findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from eventmesh.doctor.checks import Finding, count
from eventmesh.engine.upkeep.leftovers import Remains
from eventmesh.leftovers.record import GRACE_SECONDS
from eventmesh.leftovers.survey import AbandonedQueue, DroppedPattern, Survey
from eventmesh.model.broker import BrokerCommands
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import dead_letters, inbox

OVERDUE_SECONDS: Final = 15 * 60.0
"""Seconds after which a pattern that is still bound is a problem: a process should have unbound it
long ago. It needs GRACE_SECONDS, and of many replicas one looks every few minutes."""

SUBJECT: Final = "leftovers"


def check_leftovers(
    surveys: Sequence[Survey],
    declared: Collection[str],
    now: float,
    commands: BrokerCommands,
    *,
    complete: bool = True,
) -> Iterator[Finding]:
    """Check what is left of earlier versions, and of services that do not run.

    `declared` are the functions of the code at hand: their queues are checked elsewhere. `complete`
    says whether these are the surveys of all services.
    """
    found = not complete
    for survey in surveys:
        for finding in _check_service(survey, declared, now, commands):
            found = True
            yield finding
    if not found:
        yield Finding("ok", SUBJECT, "nothing is there that no code has")


def not_readable(error: BrokerUnavailable) -> Finding:
    """Say that the records of what services have declared cannot be read now."""
    return Finding(
        "note",
        SUBJECT,
        f"what earlier versions declared is not known: {error}",
        "run the doctor again",
    )


def _check_service(
    survey: Survey, declared: Collection[str], now: float, commands: BrokerCommands
) -> Iterator[Finding]:
    remains = [each for each in survey.remains if each.function not in declared]
    if survey.processes:
        for each in remains:
            yield _removed(each, now)
    elif remains:
        yield _stopped(survey.service, remains)
    for dropped in survey.dropped:
        if now - dropped.since > GRACE_SECONDS:
            yield _still_bound(dropped, now)
    for queue in survey.abandoned:
        yield _abandoned(queue, commands)


def _removed(remains: Remains, now: float) -> Finding:
    since = f" since {format_time(remains.since)}" if remains.since else ""
    # While a deployment goes on, it may come back.
    gone = now - remains.since if remains.since else 0.0
    harm = (remains.waiting and gone > GRACE_SECONDS) or (
        remains.patterns and gone > OVERDUE_SECONDS
    )
    queue = dead_letters if remains.waiting is None else inbox
    return Finding(
        "problem" if harm else "note",
        queue(remains.function).name,
        f"no process has {remains.function} any more{since}: {_describe(remains)}",
        f"'eventmesh prune {remains.function}' removes it, and moves what waits to another "
        "function: to its new name, if it was renamed",
    )


def _stopped(service: str, remains: Sequence[Remains]) -> Finding:
    whole = Remains(
        service,
        0.0,
        tuple(dict.fromkeys(pattern for each in remains for pattern in each.patterns)),
        _sum([each.waiting for each in remains]),
        _sum([each.dead for each in remains]),
    )
    return Finding(
        "problem" if whole.waiting else "note",
        service,
        f"no process has a function of it: {_describe(whole)}",
        f"start it; if it is gone for good, 'eventmesh prune {service}' removes what is left",
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def _describe(remains: Remains) -> str:
    """Say what is left, in a few words."""
    parts: list[str] = []
    if remains.waiting is not None:
        waiting = count(remains.waiting, "invocation")
        parts.append(f"{waiting} {'waits' if remains.waiting == 1 else 'wait'}")
    if remains.dead:
        parts.append(count(remains.dead, "dead letter"))
    if remains.patterns:
        parts.append(f"still subscribed to {', '.join(remains.patterns)}")
    return "; ".join(parts) or "its queue of dead letters is empty"


def _still_bound(dropped: DroppedPattern, now: float) -> Finding:
    late = now - dropped.since > OVERDUE_SECONDS
    return Finding(
        "problem" if late else "note",
        inbox(dropped.function).name,
        f"{dropped.function} still gets {dropped.pattern}, which no process has declared since "
        f"{format_time(dropped.since)}",
        "see the log of its service: it may not be allowed to unbind it"
        if late
        else "a process of its service unbinds it soon",
    )


def _abandoned(queue: AbandonedQueue, commands: BrokerCommands) -> Finding:
    waiting = count(queue.waiting, "message")
    return Finding(
        "note",
        queue.name,
        f"{waiting} that nothing consumes: {queue.function} does not since "
        f"{format_time(queue.since)}",
        f"have a function consume it; or, if nobody needs it, '{commands.delete_queue} "
        f"{queue.name}'",
    )


def format_time(seconds: float) -> str:
    """Format a time for people, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
