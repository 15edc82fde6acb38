"""What processes tell each other of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, Final

from pydantic import TypeAdapter

from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.value import value

INTERVAL: Final = 5.0
"""Seconds between two signs of life."""

HERE: Final = "here"
"""A process and all about it: an `Instance`."""

ALIVE: Final = "alive"
"""A process is still there, and runs so much: `Heartbeat`."""

GONE: Final = "gone"
"""A process stops: `Heartbeat`."""

QUERY: Final = "query"
"""Who is there? An answer is `HERE`."""


@value
class AnnouncedRoute:
    """One method of one path, and the function that answers there.

    `timeout` is that of the function, in seconds, None for none.
    """

    method: str
    path: str
    function: str
    timeout: float | None


@value
class Instance:
    """A process of the mesh.

    `id` tells it from the other replicas, `started` is in seconds since the epoch. `services` has
    their versions by their names, `functions` each as `described`, `running` what runs now by
    function, `openapi` the document of the `endpoints`.
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


@value
class Heartbeat:
    """A sign of life of the instance with that id."""

    id: str
    running: Mapping[str, int] = field(default_factory=dict[str, int])


INSTANCES: Final = TypeAdapter(Instance)
PULSES: Final = TypeAdapter(Heartbeat)


def note(word: str, body: bytes, now: float) -> Message:
    """A message about presence."""
    return Message(body, new_id(), now, trigger="presence", type=word)
