"""The messages by which processes announce themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final

from pydantic import TypeAdapter

from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.value import value
from eventmesh.model.work import MAX_COUNT, Work, check_work

INTERVAL: Final = 5.0
"""Seconds between two heartbeats."""

HERE: Final = "here"
"""A process runs; the body is an `Instance`."""

ALIVE: Final = "alive"
"""A process still runs; the body is a `Heartbeat`."""

GONE: Final = "gone"
"""A process stops; the body is a `Heartbeat`."""

QUERY: Final = "query"
"""A question which processes run; each answers with `HERE`."""

LOOK: Final = "look"
"""A question which runs go on and have ended; the body is a `Question`."""

SEEN: Final = "seen"
"""How the key of an answer to `LOOK` begins; its asker's id follows. The body is a `Sight`."""


@value
class AnnouncedRoute:
    """The function that serves one method of one path.

    `timeout` is the function's, in seconds; None means no timeout. `cors` says which pages of other
    origins may use it, in the members of a `Cors`; None means none.
    """

    method: str
    path: str
    function: str
    timeout: float | None
    cors: Mapping[str, Any] | None = None


@value
class AnnouncedSources:
    """What leads to a function and outlives its processes at the broker.

    `patterns` are those of the events that come to its inbox, `queues` the queues that it consumes.
    """

    patterns: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


@value
class Instance:
    """A process of the mesh.

    `id` is unique among the replicas. `started` is in seconds since the epoch. `services` maps
    names to versions. Each of `functions` is a `function_info`. `running` counts the running
    invocations by function, and `waiting` those that wait in the process for a permit or a slot,
    where there are some. `openapi` is the document of the `endpoints`. `sources` are those of
    each function; None if the process does not say. `work` is what it has done of each function,
    where that is something. `revision` is what whoever started it calls this version, "" for none.
    `restarts` counts how often its worker died and was started again by its supervisor.
    `kept_by` is what only a running process of its services does, such as to fire a timer.

    With `stand_in` the process serves nothing of its `services`: it announces their routes and
    functions while no process of theirs runs, and has one started when they are called.
    """

    id: str
    host: str
    pid: int
    started: float
    services: Mapping[str, str]
    functions: Sequence[Mapping[str, Any]] = ()
    endpoints: Sequence[AnnouncedRoute] = ()
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    openapi: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    waiting: Mapping[str, int] = field(default_factory=dict[str, int])
    sources: Mapping[str, AnnouncedSources] | None = None
    work: Mapping[str, Work] = field(default_factory=dict[str, Work])
    revision: str = ""
    kept_by: str = ""
    restarts: int = 0
    stand_in: bool = False


@value
class Heartbeat:
    """A sign of life of the instance with this id."""

    id: str
    running: Mapping[str, int] = field(default_factory=dict[str, int])
    waiting: Mapping[str, int] = field(default_factory=dict[str, int])
    work: Mapping[str, Work] = field(default_factory=dict[str, Work])


INSTANCES: Final = TypeAdapter(Instance)
HEARTBEATS: Final = TypeAdapter(Heartbeat)

MAX_ANNOUNCEMENT: Final = 2 * 1024 * 1024
"""Bytes of the largest announcement that is taken: of some thousand functions."""


def read_instance(body: bytes, now: float) -> Instance:
    """Read an announcement, which any process may have written.

    What it does not say correctly is refused, so that whoever reads the instance may rely on the
    names, descriptions and limits of its functions. A process speaks for its own services alone,
    and did not start later than `now`. Raises ValueError.
    """
    if len(body) > MAX_ANNOUNCEMENT:
        raise ValueError(f"it has {len(body):,} bytes, and may have {MAX_ANNOUNCEMENT:,}")
    instance = INSTANCES.validate_json(body)
    for function in instance.functions:
        _check_owner(instance, _check_announced(function))
    for endpoint in instance.endpoints:
        _check_owner(instance, endpoint.function)
    for name in (*(instance.sources or ()), *instance.work):
        _check_owner(instance, name)
    check_counts(instance)
    if not 0 <= instance.restarts <= MAX_COUNT:
        raise ValueError("a count of restarts is below 0, or too large")
    for endpoint in instance.endpoints:
        if endpoint.timeout is not None and not 0 <= endpoint.timeout < math.inf:
            raise ValueError(f"a route has a timeout of {endpoint.timeout} s")
    started = instance.started if 0 <= instance.started <= now else now
    return replace(instance, started=started)


def check_counts(told: Instance | Heartbeat) -> None:
    """Raise ValueError for counts that no process can have."""
    for counts in (told.running, told.waiting):
        if any(not 0 <= count <= MAX_COUNT for count in counts.values()):
            raise ValueError("a count of what runs or waits is below 0, or too large")
    for work in told.work.values():
        check_work(work)


def _check_announced(function: Mapping[str, Any]) -> str:
    """Return the name of a function, and raise ValueError if a part of it is missing or wrong."""
    match function:
        case {
            "name": str(name),
            "triggers": [*triggers],
            "limits": {"max_pending": int()},
        } if all(isinstance(_description(trigger), str) for trigger in triggers):
            return name
        case _:
            raise ValueError("a function has no name, triggers with descriptions, or limits")


def _description(trigger: Any) -> Any:
    match trigger:
        case {"description": text}:
            return text
        case _:
            return None


def _check_owner(instance: Instance, function: str) -> None:
    if function.partition(".")[0] not in instance.services:
        raise ValueError(f"{function!r:.99} is not of one of its services")


def presence_message(kind: str, body: bytes, now: float) -> Message:
    """Build a presence message of a kind, such as `HERE`."""
    return Message(body, new_id(), now, trigger="presence", type=kind)
