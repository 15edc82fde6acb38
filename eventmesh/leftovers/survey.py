"""Finds what is left at a broker of functions that no process has."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from eventmesh.abc import BrokerInspector
from eventmesh.engine.upkeep.leftovers import Remains
from eventmesh.leftovers.record import FunctionRecord, Record
from eventmesh.model.topology import dead_letters, inbox, named
from eventmesh.model.value import value
from eventmesh.presence import Instance


@value
class DroppedPattern:
    """A pattern of a function that runs, which no process has declared since that time."""

    function: str
    pattern: str
    since: float


@value
class AbandonedQueue:
    """A queue that nobody consumes, and from which a function took since that time no more."""

    name: str
    function: str
    since: float
    waiting: int


@value
class Survey:
    """What is left of one service; `processes` is how many processes it has now."""

    service: str
    processes: int
    remains: Sequence[Remains]
    dropped: Sequence[DroppedPattern]
    abandoned: Sequence[AbandonedQueue]


async def survey_service(
    inspector: BrokerInspector, record: Record, service: str, instances: Sequence[Instance]
) -> Survey:
    """Look for what the record of a service names. Raises BrokerUnavailable and AccessDenied."""
    running = running_functions(instances)
    gone = {name: known for name, known in record.functions.items() if name not in running}
    remains = [await find_remains(inspector, name, known) for name, known in gone.items()]
    return Survey(
        service,
        sum(service in each.services for each in instances),
        [each for each in remains if not each.is_empty],
        [
            DroppedPattern(name, pattern, since)
            for name, known in record.functions.items()
            if name in running
            for pattern, since in known.patterns.items()
            if since
        ],
        [
            AbandonedQueue(queue, name, since, found.messages)
            for queue, name, since in _unconsumed(record)
            if (found := await inspector.describe(named(queue, declare=False)))
            and found.messages
            and not found.consumers
        ],
    )


async def find_remains(
    inspector: BrokerInspector, name: str, known: FunctionRecord | None = None
) -> Remains:
    """Look for what is left of a function, which may be in no record."""
    known = known or FunctionRecord()
    waiting, dead = [
        await inspector.describe(named(queue.name, declare=False))
        for queue in (inbox(name), dead_letters(name))
    ]
    return Remains(
        name,
        known.gone,
        # Bindings are gone with their queue.
        tuple(known.patterns) if waiting else (),
        None if waiting is None else waiting.messages,
        None if dead is None else dead.messages,
    )


def running_functions(instances: Collection[Instance]) -> set[str]:
    """Return the names of all functions that these processes have."""
    return {function["name"] for instance in instances for function in instance.functions}


def _unconsumed(record: Record) -> Iterator[tuple[str, str, float]]:
    for name, known in record.functions.items():
        for queue, since in known.queues.items():
            if since:
                yield queue, name, since
