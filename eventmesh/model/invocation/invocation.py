"""One request to run one function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

from eventmesh.model.invocation.claim import Claim
from eventmesh.model.invocation.log_tail import LogTail
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.result import Failure
from eventmesh.model.value import constructor, value

Mode: TypeAlias = Literal["sync", "async"]
SYNC: Final = "sync"
ASYNC: Final = "async"


@value
class RouteTemplate:
    """The parts of a declared route that binding and metrics need.

    `key` is the declared method and path, such as "POST /orders/{order_id}", which is unique among
    the routes of a function. `names` are the parameters in the path, in order. `idempotency` says
    whether a request may, or must, have an Idempotency-Key; "" if it is not read.
    """

    key: str
    names: tuple[str, ...]
    has_body: bool
    idempotency: Literal["", "optional", "required"] = ""


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


make_http_request: Final = constructor(HttpRequest)
"""Build an HttpRequest by keyword, as fast as by position."""


@dataclass(slots=True)
class Batch:
    """The items of a batch as bodies, the invalid ones among them, and the ids of all.

    The runtime fills in `invalid`, by index, as soon as it has validated the items. It is not part
    of the result, because an invalid item stays invalid even if the run times out or a middleware
    raises, which replaces the result.
    """

    bodies: Sequence[bytes] = field(repr=False)
    invalid: dict[int, Failure] = field(default_factory=dict[int, Failure], repr=False)
    ids: Sequence[str] = ()


class Delivered(Protocol):
    """What the broker delivered, as far as an invocation has to know it."""

    @property
    def redeliveries(self) -> int:
        """How often it was delivered before, as far as the broker counts: a run may have begun."""
        ...

    @property
    def stale(self) -> bool:
        """Whether its connection is lost: the broker delivers it again, so it need not be run."""
        ...


@value
class Invocation:
    """One request to run one function, from any trigger.

    In mode "sync" a caller waits for the result, and the function runs at most once. In mode
    "async" the invocation was stored first, and is delivered until it succeeds or becomes a dead
    letter. `created` is the time at which it was first stored, in seconds since the epoch, and
    `deadline` the time at which it must end, on the monotonic clock of this process
    (`Clock.monotonic`). `attempt` counts from 1. `redeliveries` is how often this attempt was
    delivered before, as far as the broker counts: an earlier run may have begun. `payload` is
    empty if there is a `batch`.

    `delivery` is what brought it, if the broker did and whoever dispatches it requeues what was
    `NotBegun`: what waits for a permit when the process stops, or when the connection is lost.

    `claim` is the right to run it, where an idempotency key says that it is run once.

    `principal` is the identity of the caller, set by the transport that received the call and
    carried on by every hop; "" if there is none. Where all services share one account of the
    broker, whoever has it may write any: `engine.codecs.trust` says what counts where they do not.

    `wants_stream` says that its caller, who is in this process, takes a stream as the result, as
    who sends an `http` request does. `log_tail` takes what the run logs, for such a caller; a
    runtime whose runs share their output with others leaves it empty.
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
    delivery: Delivered | None = field(default=None, repr=False, compare=False)
    redeliveries: int = 0
    claim: Claim | None = field(default=None, repr=False, compare=False)
    wants_stream: bool = False
    log_tail: LogTail | None = field(default=None, repr=False, compare=False)

    @property
    def takes_stream(self) -> bool:
        """Whether a stream may be its result."""
        return self.http is not None or self.wants_stream


make_invocation: Final = constructor(Invocation)
"""Build an Invocation by keyword, as fast as by position."""
