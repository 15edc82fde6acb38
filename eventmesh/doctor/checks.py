"""Checks: pure functions from the state of a mesh to findings with advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from eventmesh.model.broker import (
    ArgumentDifference,
    BrokerCommands,
    BrokerInfo,
    LostMessages,
    QueueInfo,
)
from eventmesh.model.topology import Queue
from eventmesh.model.value import value

Level: TypeAlias = Literal["ok", "note", "problem"]
Role: TypeAlias = Literal["inbox", "rpc", "dead letters", "source"]


@value
class Finding:
    """The result of one check: how serious it is, and what to do about it."""

    level: Level
    subject: str
    what: str
    advice: str = ""


@value
class ExpectedQueue:
    """A queue that should exist, and its role for a function."""

    queue: Queue
    function: str
    role: Role


@value
class QueueState:
    """An expected queue as it was found, and the number of processes that serve its function."""

    expected: ExpectedQueue
    found: QueueInfo | None
    processes: int


def check_server(server: BrokerInfo) -> Iterator[Finding]:
    """Check the broker itself."""
    shown = f"{server.product} {server.version} (cluster {server.cluster})"
    if server.missing:
        yield Finding(
            "problem",
            "broker",
            f"{shown} does not support {', '.join(server.missing)}",
            "use RabbitMQ: eventmesh needs its extensions of AMQP",
        )
    elif server.disabled:
        advice = f"{server.enable}; until then services send no message with a delay"
        yield Finding("problem", "broker", f"{shown}: {server.disabled}", advice)
    elif not server.tested:
        tested = server.tested_versions
        yield Finding("note", "broker", f"{shown} is not among the tested versions, {tested}")
    else:
        yield Finding("ok", "broker", shown)


def check_alarm(refusal: str) -> Finding:
    """Check whether the broker takes messages; `refusal` is its reason if not, else ""."""
    if not refusal:
        return Finding("ok", "alarms", "it takes messages")
    return Finding(
        "problem",
        "alarms",
        refusal,
        "free memory or disk space on its machine, then run the doctor again: until then no "
        "process can answer",
    )


def check_delays(lost: LostMessages, commands: BrokerCommands) -> Finding:
    """Check for delayed messages whose queue was gone when they came due."""
    if not lost.count:
        return Finding("ok", lost.queue, "every delayed message found its queue")
    return Finding(
        "note",
        lost.queue,
        f"{count(lost.count, 'delayed message')} had no queue to go to: it was deleted, or "
        "no subscriber is left",
        "the end of each routing key names its destination: send again what is still needed, then "
        f"'{commands.purge_queue} {lost.queue}'",
    )


def check_queues(states: Sequence[QueueState], commands: BrokerCommands) -> Iterator[Finding]:
    """Check the queues, in their order."""
    for state in states:
        findings = list(_check_queue(state, commands))
        yield from findings or [Finding("ok", state.expected.queue.name, "it is as it should be")]


def report_hidden(queues: Sequence[str], records: Sequence[str]) -> Iterator[Finding]:
    """Report in one line what was not looked at, because the user lacks rights.

    `queues` are those that the broker does not show, and `records` those of what services declare.
    """
    missing = [
        *([f"of the queues and consumers (any right on {_few(queues)})"] if queues else ()),
        *([f"of leftovers (configure, write and read on {_few(records)})"] if records else ()),
    ]
    if missing:
        yield Finding(
            "note",
            "rights",
            f"a part was not looked at, for want of rights: {'; '.join(missing)}",
            "run the doctor as the user 'operator' of 'eventmesh export broker', which has them; "
            "or, with one user for all, as a user that may use every queue of the mesh",
        )


_NAMED: Final = 3
"""Names that are listed before the others are counted."""


def _few(names: Sequence[str]) -> str:
    shown, others = names[:_NAMED], len(names) - _NAMED
    return ", ".join(shown) + (f" and {count(others, 'other')}" if others > 0 else "")


def _check_queue(state: QueueState, commands: BrokerCommands) -> Iterator[Finding]:
    """Yield what is wrong with one queue."""
    expected, found = state.expected, state.found
    if found is not None and found.away:
        yield Finding(
            "problem",
            expected.queue.name,
            f"nobody can use it now: {found.away}",
            "see 'rabbitmqctl cluster_status' for the nodes that are down, and start them",
        )
        return
    if found is None:
        yield _missing(state)
        return
    if found.difference is not None:
        yield _different(expected, found.difference, commands)
    match expected.role:
        case "dead letters":
            yield from _check_dead_letters(expected, found)
        case "source":
            # Other systems may consume it as well.
            if state.processes and not found.consumers:
                yield _too_few_consumers(state, found)
        case _:
            yield from _check_consumers(state, found, commands)


def _missing(state: QueueState) -> Finding:
    queue, function = state.expected.queue, state.expected.function
    if not queue.declare:
        return Finding(
            "problem",
            queue.name,
            f"it does not exist, and {function} consumes it",
            "it belongs to another system (declare=False), which must create it",
        )
    if not state.processes:
        return Finding("note", queue.name, f"it does not exist: no process serves {function}")
    return Finding(
        "problem",
        queue.name,
        f"it does not exist, and {_serving(state)}",
        _RECREATED[state.expected.role],
    )


_RECREATED_SOON: Final = "it was deleted, and is created again soon"
_RECREATED: Final[Mapping[Role, str]] = {
    "inbox": f"{_RECREATED_SOON}; if not, restart the service",
    "rpc": f"{_RECREATED_SOON}; if not, restart the service",
    "dead letters": "it was deleted, and is created again for the next dead letter",
    "source": f"{_RECREATED_SOON}; or other code than this runs: restart the service",
}


def _different(
    expected: ExpectedQueue, difference: ArgumentDifference, commands: BrokerCommands
) -> Finding:
    name = expected.queue.name
    by_hand = (
        f"stop its users, let it run empty, '{commands.delete_queue} {name}', and start the "
        "service again, which creates it anew"
    )
    by_itself = "stop its service for a minute: the queue then expires, and is created anew"
    return Finding(
        "problem",
        name,
        f"its {difference.argument} is {difference.found}, and the code says {difference.wanted}",
        by_itself if expected.role == "rpc" else by_hand,
    )


def _check_dead_letters(expected: ExpectedQueue, found: QueueInfo) -> Iterator[Finding]:
    if found.messages:
        yield Finding(
            "note",
            expected.queue.name,
            f"{count(found.messages, 'dead letter')} of {expected.function}",
            f"'eventmesh dlq list {expected.function}' shows why",
        )


def _check_consumers(
    state: QueueState, found: QueueInfo, commands: BrokerCommands
) -> Iterator[Finding]:
    """Each process that serves a function has one consumer of its inbox and of its RPC queue."""
    queue, function = state.expected.queue, state.expected.function
    if found.consumers < state.processes:
        yield _too_few_consumers(state, found)
    elif found.consumers > state.processes:
        yield Finding(
            "problem",
            queue.name,
            f"{count(found.consumers, 'consumer')}, and {_serving(state)}",
            "another system consumes it, or a process does not answer: compare "
            f"'{commands.list_consumers}' with 'eventmesh ps'",
        )
    elif found.messages and not state.processes:
        waiting = count(found.messages, "invocation")
        yield Finding(
            "problem",
            queue.name,
            f"{waiting} of {function} waiting, and {_serving(state)}",
            "start its service",
        )


def _too_few_consumers(state: QueueState, found: QueueInfo) -> Finding:
    return Finding(
        "problem",
        state.expected.queue.name,
        f"{count(found.consumers, 'consumer')}, and {_serving(state)}",
        "see the log of the service, and restart it if that does not help",
    )


def _serving(state: QueueState) -> str:
    count = state.processes
    serving = "1 process serves" if count == 1 else f"{count or 'no'} processes serve"
    return f"{serving} {state.expected.function}"


def count(number: int, what: str) -> str:
    """Return a number of things: "2 dead letters"."""
    return f"1 {what}" if number == 1 else f"{number or 'no'} {what}s"
