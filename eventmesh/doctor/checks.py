"""What is wrong with a mesh and what to do about it, decided from what was seen of it."""

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
    """Something that was looked at: whether it is well, and what to do if it is not."""

    level: Level
    subject: str
    what: str
    advice: str = ""


@value
class ExpectedQueue:
    """A queue that there should be, and what a function has it for."""

    queue: Queue
    function: str
    role: Role


@value
class QueueState:
    """A queue that there should be, as it was found, and how many processes serve its function."""

    expected: ExpectedQueue
    found: QueueInfo | None
    processes: int


def server_findings(server: BrokerInfo) -> Iterator[Finding]:
    """About the broker itself."""
    shown = f"{server.product} {server.version} (cluster {server.cluster})"
    if server.missing:
        yield Finding(
            "problem",
            "broker",
            f"{shown} cannot do {', '.join(server.missing)}",
            "use RabbitMQ: eventmesh needs what it adds to AMQP",
        )
    elif not server.tested:
        tested = server.tested_versions
        yield Finding("note", "broker", f"{shown} is not among the tested versions, {tested}")
    else:
        yield Finding("ok", "broker", shown)


def alarm_finding(trouble: str) -> Finding:
    """About a message that was published to nobody: whether the broker took it."""
    if not trouble:
        return Finding("ok", "alarms", "it takes messages")
    return Finding(
        "problem",
        "alarms",
        trouble,
        "free memory or disk space on its machine, and look again: until then no process can say "
        "that it is there",
    )


def delay_finding(lost: LostMessages, commands: BrokerCommands) -> Finding:
    """About delayed messages whose queue was gone when they were due."""
    if not lost.count:
        return Finding("ok", lost.queue, "all that was delayed found its queue")
    return Finding(
        "note",
        lost.queue,
        f"{_count(lost.count, 'delayed message')} had nowhere to go: the queue was deleted, or "
        "nobody subscribes any more",
        "where to is at the end of their routing keys: send again what is still wanted, and "
        f"'{commands.purge_queue} {lost.queue}'",
    )


def queue_findings(seen: Sequence[QueueState], commands: BrokerCommands) -> Iterator[Finding]:
    """About the queues, in their order."""
    for one in seen:
        found = list(_findings(one, commands))
        yield from found or [Finding("ok", one.expected.queue.name, "it is as it should be")]


def _findings(seen: QueueState, commands: BrokerCommands) -> Iterator[Finding]:
    """What is to be said of a queue that is not as it should be."""
    if seen.found is None:
        yield _missing(seen)
        return
    if seen.found.difference is not None:
        yield _different(seen.expected, seen.found.difference, commands)
    match seen.expected.role:
        case "dead letters":
            yield from _dead_letters(seen.expected, seen.found)
        case "source":
            # Others may consume it as well.
            if seen.processes and not seen.found.consumers:
                yield _consumers_missing(seen, seen.found)
        case _:
            yield from _consumers(seen, seen.found, commands)


def _missing(seen: QueueState) -> Finding:
    queue, function = seen.expected.queue, seen.expected.function
    if not queue.declare:
        return Finding(
            "problem",
            queue.name,
            f"it is not there, and {function} takes its messages",
            "it belongs to another system (declare=False), which has to make it",
        )
    if not seen.processes:
        return Finding("note", queue.name, f"it is not there: nobody serves {function}")
    return Finding(
        "problem",
        queue.name,
        f"it is not there, and {_processes(seen)}",
        _MADE_AGAIN[seen.expected.role],
    )


_AGAIN: Final = "somebody deleted it, and it is made again soon"
_MADE_AGAIN: Final[Mapping[Role, str]] = {
    "inbox": f"{_AGAIN}; if it is not, restart the service",
    "rpc": f"{_AGAIN}; if it is not, restart the service",
    "dead letters": "somebody deleted it, and it is made again when something is set aside",
    "source": f"{_AGAIN}; or what runs is other code than this: restart the service",
}


def _different(
    expected: ExpectedQueue, difference: ArgumentDifference, commands: BrokerCommands
) -> Finding:
    name = expected.queue.name
    by_hand = (
        f"stop what uses it, let it run empty, '{commands.delete_queue} {name}', and start the "
        "service again, which makes it anew"
    )
    by_itself = "stop its service for a minute: it then goes by itself, and is made anew"
    return Finding(
        "problem",
        name,
        f"its {difference.argument} is {difference.found}, and the code says {difference.wanted}",
        by_itself if expected.role == "rpc" else by_hand,
    )


def _dead_letters(expected: ExpectedQueue, found: QueueInfo) -> Iterator[Finding]:
    if found.messages:
        yield Finding(
            "note",
            expected.queue.name,
            f"{_count(found.messages, 'invocation')} of {expected.function} set aside",
            f"'eventmesh dlq list {expected.function}' shows why",
        )


def _consumers(seen: QueueState, found: QueueInfo, commands: BrokerCommands) -> Iterator[Finding]:
    """Each process that serves a function has one consumer of its inbox and one of its line."""
    queue, function = seen.expected.queue, seen.expected.function
    if found.consumers < seen.processes:
        yield _consumers_missing(seen, found)
    elif found.consumers > seen.processes:
        yield Finding(
            "problem",
            queue.name,
            f"{_count(found.consumers, 'consumer')}, and {_processes(seen)}",
            "somebody else consumes it, or a process does not answer: compare "
            f"'{commands.list_consumers}' with 'eventmesh ps'",
        )
    elif found.messages and not seen.processes:
        waiting = _count(found.messages, "invocation")
        yield Finding(
            "problem",
            queue.name,
            f"{waiting} of {function} waiting, and {_processes(seen)}",
            "start its service",
        )


def _consumers_missing(seen: QueueState, found: QueueInfo) -> Finding:
    return Finding(
        "problem",
        seen.expected.queue.name,
        f"{_count(found.consumers, 'consumer')}, and {_processes(seen)}",
        "see the log of the service, and restart it if that does not mend it",
    )


def _processes(seen: QueueState) -> str:
    count = seen.processes
    serving = "1 process serves" if count == 1 else f"{count or 'no'} processes serve"
    return f"{serving} {seen.expected.function}"


def _count(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count or 'no'} {what}s"
