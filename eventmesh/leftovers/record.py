"""The record of a service: what its versions have declared at the broker, as pure data.

It is the state of a lease, `em.record.<service>`, and outlives the processes. It tells what is at
the broker because an earlier version declared it, and that no code has any more.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from typing import Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from eventmesh.abc import Broker, BrokerInspector
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, PayloadTooLarge
from eventmesh.model.event import check_pattern
from eventmesh.model.topology import Binding, check_function, inbox, named, record_name
from eventmesh.model.value import value
from eventmesh.presence import AnnouncedSources
from eventmesh.presence.observer import MAX_INSTANCES

GRACE_SECONDS: Final = 60.0
"""Seconds for which no process may have declared a pattern before it is unbound: one that crashed,
or lost its connection, comes back in that time and misses no event."""

FORGOTTEN_AFTER: Final = 7 * 24 * 3600.0
"""Seconds for which an unbound pattern is remembered. A process that could not be heard for a while
binds its patterns again when it reconnects, and they are then unbound once more."""

LEASE_SECONDS: Final = 30.0
"""Seconds to wait for others that read or write a record."""

LATEST: Final = 4_102_444_800.0
"""The beginning of the year 2100."""

MAX_GONE: Final = 5_000
"""Functions without code that are remembered; of more, the latest."""

Sources: TypeAlias = Mapping[str, AnnouncedSources]
"""What leads to each function, by its name."""

Since: TypeAlias = dict[str, float]
"""Since when no process declares each of these, in seconds since the epoch; 0 while one does."""

_log: Final = logging.getLogger(__name__)


@value
class FunctionRecord:
    """What is known of one function.

    `patterns` are bound to its inbox, `queues` are those that it consumed, and `unbound` says when
    each other pattern was unbound. `gone` says since when no process has the function; 0 while one
    does.
    """

    patterns: Since = field(default_factory=Since)
    queues: Since = field(default_factory=Since)
    unbound: Since = field(default_factory=Since)
    gone: float = 0.0


@value
class Record:
    """What is known of a service: its functions by name.

    `checked` says when the running processes were last asked, and `replicas` how many of the
    service there were. `version` is that of the process which was started last.
    """

    functions: dict[str, FunctionRecord] = field(default_factory=dict[str, FunctionRecord])
    version: str = ""
    checked: float = 0.0
    replicas: int = 1


_RECORDS: Final = TypeAdapter(Record)


def load_record(service: str, state: bytes) -> Record:
    """Read a record from a lease's state. What cannot be read is logged, and counts as empty."""
    if not state:
        return Record()
    try:
        check_nodes(state)
        record = _RECORDS.validate_json(state)
        for name, known in record.functions.items():
            if check_function(name).partition(".")[0] != service:
                raise DeclarationError(f"{name!r} is a function of another service")
            for pattern in (*known.patterns, *known.unbound):
                check_pattern(pattern)
            times = (*known.patterns.values(), *known.queues.values(), *known.unbound.values())
            if not all(0 <= time < LATEST for time in (*times, known.gone)):
                raise DeclarationError(f"a time of {name} is not one of this century")
        if not 1 <= record.replicas <= MAX_INSTANCES:
            raise DeclarationError(f"there cannot be {record.replicas} replicas")
    except (PayloadTooLarge, ValidationError, DeclarationError) as error:
        _log.warning(
            "the record of %s cannot be read, and begins anew: what older versions declared is "
            "not known any more: %.200s",
            service,
            error,
        )
        return Record()
    return record


def dump_record(record: Record) -> bytes:
    """Return the state from which `load_record` reads the record."""
    return _RECORDS.dump_json(record)


async def read_record(
    broker: Broker, inspector: BrokerInspector, clock: Clock, service: str
) -> Record:
    """Return the record of a service, which is empty if there is none.

    Raises BrokerUnavailable, also if others have it for long, and AccessDenied.
    """
    name = record_name(service)
    if await inspector.describe(named(name, declare=False)) is None:
        return Record()  # Asking for its lease would create it.
    try:
        with TimeLimit(clock, LEASE_SECONDS):
            async with broker.lease(name) as lease:
                return load_record(service, lease.state)
    except TimeoutError:
        raise BrokerUnavailable(
            f"the record {name!r} was in use for {LEASE_SECONDS:g} s: try again"
        ) from None


def declare(record: Record, own: Sources, version: str) -> Record:
    """Return the record after a process has declared what is its `own`."""
    functions = dict(record.functions)
    for name, sources in own.items():
        known = functions.get(name, FunctionRecord())
        functions[name] = FunctionRecord(
            known.patterns | dict.fromkeys(sources.patterns, 0.0),
            known.queues | dict.fromkeys(sources.queues, 0.0),
            {each: when for each, when in known.unbound.items() if each not in sources.patterns},
        )
    return replace(record, functions=functions, version=version)


def lost_bindings(record: Record, own: Sources) -> Iterator[Binding]:
    """Yield the own bindings that another process may have removed, thinking them unused."""
    for name, sources in own.items():
        known = record.functions.get(name, FunctionRecord())
        for pattern in sources.patterns:
            if pattern in known.unbound or known.patterns.get(pattern):
                yield Binding(inbox(name), pattern)


def is_settled(record: Record, own: Sources) -> bool:
    """Whether nothing is bound that is not `own`, and all else is known to have no code."""
    for name, known in record.functions.items():
        mine = own.get(name, AnnouncedSources())
        if known.patterns.keys() - set(mine.patterns):
            return False
        if any(not known.queues[each] for each in known.queues.keys() - set(mine.queues)):
            return False
        if name not in own and not known.gone:
            return False
    return True


def may_have_leftovers(record: Record, own: Sources) -> bool:
    """Whether to ask who runs: also where a process that was not heard may have bound again."""
    return not is_settled(record, own) or any(known.unbound for known in record.functions.values())


def observe(record: Record, running: Sources, now: float, replicas: int) -> Record:
    """Return the record after all processes were asked what they have: `running`, together."""
    functions: dict[str, FunctionRecord] = {}
    for name, known in record.functions.items():
        sources = running.get(name)
        mine = sources or AnnouncedSources()
        functions[name] = FunctionRecord(
            _since(known.patterns, mine.patterns, now),
            _since(known.queues, mine.queues, now),
            {
                pattern: when
                for pattern, when in known.unbound.items()
                if now - FORGOTTEN_AFTER < when and pattern not in mine.patterns
            },
            0.0 if sources is not None else _earlier(known.gone, now),
        )
    return replace(record, functions=_bounded(functions), checked=now, replicas=replicas)


def _since(known: Since, declared: tuple[str, ...], now: float) -> Since:
    return {
        each: 0.0 if each in declared else _earlier(since, now) for each, since in known.items()
    }


def _earlier(since: float, now: float) -> float:
    """Return `since` unless it is not known, or by another clock in the future."""
    return since if 0 < since <= now else now


def _bounded(functions: dict[str, FunctionRecord]) -> dict[str, FunctionRecord]:
    """Forget what has been gone for the longest, beyond MAX_GONE; what is bound is kept."""
    gone = [name for name, known in functions.items() if known.gone and not known.patterns]
    gone.sort(key=lambda name: functions[name].gone)
    for name in gone[: max(0, len(gone) - MAX_GONE)]:
        del functions[name]
    return functions


def find_unused(record: Record, running: Sources, grace: float) -> Iterator[tuple[str, str]]:
    """Yield the functions and patterns to unbind, after `observe`."""
    for name, known in record.functions.items():
        declared = running.get(name, AnnouncedSources()).patterns
        for pattern, since in known.patterns.items():
            if since and record.checked - since >= grace:
                yield name, pattern
        for pattern in known.unbound:
            if pattern not in declared:
                yield name, pattern


def mark_unbound(record: Record, name: str, pattern: str, now: float) -> Record:
    """Return the record after the pattern of a function was unbound."""
    known = record.functions[name]
    patterns = {each: since for each, since in known.patterns.items() if each != pattern}
    unbound = known.unbound | ({pattern: now} if pattern in known.patterns else {})
    changed = replace(known, patterns=patterns, unbound=unbound)
    return replace(record, functions=record.functions | {name: changed})
