"""One request to run one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.result import Failure
from eventmesh.model.value import constructor, value

Mode: TypeAlias = Literal["sync", "async"]
SYNC: Final = "sync"
ASYNC: Final = "async"


@value
class RouteTemplate:
    """A route as binding and metrics know it, made once for each trigger.

    `key` is the method and the path as they are declared, such as "POST /orders/{order_id}": it
    tells a route from the others of its function. `names` are those in the path, in order.
    """

    key: str
    names: tuple[str, ...]
    has_body: bool


@value
class HttpRequest:
    """The parts of an HTTP request that fill parameters. `query` keeps repeated names in order."""

    route: RouteTemplate
    method: str
    target: str = field(repr=False)
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: str = ""


@dataclass(slots=True)
class Batch:
    """The bodies of a batch, each an item, and which of them are invalid.

    The runtime fills in `invalid`, by index, as soon as it has validated the items. It is no part
    of the result, because a run that is out of time, or whose middleware raises, has another
    result: an item that is invalid is so however the run ends.
    """

    bodies: Sequence[bytes] = field(repr=False)
    invalid: dict[int, Failure] = field(default_factory=dict[int, Failure], repr=False)


@value
class Invocation:
    """One request to run one function, whatever fired it.

    In mode "sync" a caller waits for the result, and it is run at most once; in mode "async" it
    was stored first and is delivered until it succeeds or becomes a dead letter. `created` is when
    it was first stored and `deadline` when it must have ended, both in seconds since the epoch.
    `attempt` counts from 1. `payload` is empty where there is a `batch`.

    `principal` is the identity of whoever called, as the transport that took the call in has it,
    carried from there through every hop; "" if there is none. No transport verifies it yet, and
    until one does it is text that any sender may have written: never decide by it.
    """

    function: str
    id: str
    payload: bytes = field(repr=False)
    created: float
    mode: Mode = ASYNC
    content_type: str = JSON
    headers: Mapping[str, str] = field(default=NO_HEADERS, repr=False)
    trigger: str = "invoke"
    attempt: int = 1
    deadline: float | None = None
    caller: str = ""
    type: str = ""
    http: HttpRequest | None = None
    batch: Batch | None = field(default=None, repr=False)
    principal: str = ""


make_invocation: Final = constructor(Invocation)
"""Makes an Invocation by keyword, as quickly as by position."""
