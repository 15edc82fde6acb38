"""One request to run one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Final, Literal, TypeAlias

from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.value import constructor, value

Mode: TypeAlias = Literal["sync", "async"]
SYNC: Final = "sync"
ASYNC: Final = "async"


@value
class HttpRequest:
    """The parts of an HTTP request that fill parameters. `query` keeps repeated names in order."""

    method: str
    target: str = field(repr=False)
    path: Mapping[str, str]
    query: Mapping[str, Sequence[str]] = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    remote: str = ""


@value
class Invocation:
    """One request to run one function, whatever fired it.

    In mode "sync" a caller waits for the result, and it is run at most once; in mode "async" it
    was stored first and is delivered until it succeeds or is set aside. `created` is when it was
    first stored and `deadline` when it must have ended, both in seconds since the epoch.
    `attempt` counts from 1. `batch` has the bodies of a batch, and `payload` is then empty.

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
    batch: Sequence[bytes] | None = field(default=None, repr=False)
    principal: str = ""


make_invocation: Final = constructor(Invocation)
"""Makes an Invocation by keyword, as quickly as by position."""
