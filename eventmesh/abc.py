"""The interfaces between the parts.

A source makes an `Invocation` of what reached it, hands it to a `Handler`, and settles the
`Result`. A `Broker` carries messages between processes. Whoever enters one of the context
managers here owns what is inside and leaves it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from eventmesh.model.broker_info import BrokerInfo, LostMessages, QueueInfo
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import Binding, Queue, Route

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Handler: TypeAlias = Callable[[Invocation], Awaitable[Result]]
"""Runs one invocation. Whatever happens comes back as a `Result`; only cancellation is raised."""

Middleware: TypeAlias = Callable[[Handler], Handler]
"""Folded around a function's handler once, when its pipeline is built."""


class Callee(Protocol[P, R_co]):
    """A declared function: it has a name in the mesh and calls like the plain function."""

    @property
    def full_name(self) -> str: ...

    @property
    def result_type(self) -> Any:
        """The annotation of what it returns; of what it yields, as a list, where it yields."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Transport(Protocol):
    """What carries calls: a broker, or HTTP to a mesh.

    All three raise BrokerUnavailable when the other side is away, and never wait longer than the
    message's deadline, or than a bound of their own where it has none.
    """

    async def request(self, function: str, message: Message) -> Result:
        """Run a function and wait for its result, until the message's deadline.

        A failure of any kind is in the result's `error`.
        """
        ...

    async def send(self, destination: str, message: Message, delay: float) -> None:
        """Return once it is stored. Raises FunctionNotFound, Throttled, PayloadTooLarge."""
        ...

    async def emit(self, event: Message, delay: float) -> None:
        """Return once it is stored for every subscriber there is."""
        ...


class Delivery(Protocol):
    """A message handed over by a broker, which wants exactly one answer.

    An answer that comes after the connection was lost does nothing: the broker has then taken
    the message back and delivers it again.
    """

    @property
    def message(self) -> Message: ...

    @property
    def redeliveries(self) -> int:
        """How often it was handed over before and never answered, as far as the broker knows."""
        ...

    @property
    def stale(self) -> bool:
        """Whether no answer reaches the broker any more: what has not begun need not be run."""
        ...

    def ack(self) -> None:
        """It is dealt with; the broker forgets it."""
        ...

    def requeue(self) -> None:
        """Hand it back untouched, to be delivered again soon. It spends no attempt."""
        ...


class Subscription(Protocol):
    """A live consumer of one queue."""

    async def stop(self) -> None:
        """Take no more: nothing is delivered once this has returned."""
        ...


class Slots(Protocol):
    """Places for runs of one function at once in the whole mesh.

    Places are lost with the connection. What runs in them goes on, so that for a while there may be
    more in the mesh than the limit says: that is logged, and these runs get places again before
    anything new does.
    """

    async def acquire(self) -> None:
        """Take a place, waiting until one is free. Cancelling the wait loses none."""
        ...

    def release(self) -> None:
        """Give a place back. Does nothing if none is held: it may have been lost meanwhile."""
        ...


class Lease(Protocol):
    """The right to do something alone in the mesh, with a few bytes that outlive the holder."""

    @property
    def state(self) -> bytes: ...

    async def save(self, state: bytes) -> None:
        """Store the state. Raises BrokerUnavailable when the lease is lost."""
        ...


class Broker(Protocol):
    """Carries messages: RabbitMQ, or the embedded broker. One contract suite runs over all.

    Entering connects, leaving closes. Everything may raise BrokerUnavailable.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    @property
    def ready(self) -> bool:
        """Whether it would take a message now, and each subscription has its consumer."""
        ...

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding] = ()) -> None:
        """Make the queues and bindings that are not there yet."""
        ...

    async def publish(self, route: Route, message: Message, *, delay: float = 0.0) -> None:
        """Return once the broker holds the message, to be delivered in `delay` seconds.

        Raises FunctionNotFound where a mandatory route leads nowhere, Throttled where a queue at
        its end is full, and PayloadTooLarge for a body over MAX_BODY. A delayed message is not lost
        where its queue is full when it is due. What UTF-8 cannot carry of a header's text arrives
        as "?".
        """
        ...

    async def request(self, route: Route, message: Message) -> Message:
        """Publish and wait for the reply, until the message's deadline, which must be set.

        Raises FunctionNotFound, Throttled (the line is full), InvocationTimeout, and
        PayloadTooLarge for a body over MAX_BODY.
        """
        ...

    def reply(self, request: Message, reply: Message) -> None:
        """Answer a request. Nothing happens if nobody waits for it any more.

        Raises PayloadTooLarge for a body over MAX_BODY.
        """
        ...

    def consume(
        self, queue: Queue, deliver: Callable[[Delivery], None], *, prefetch: int
    ) -> AbstractAsyncContextManager[Subscription]:
        """Hand over messages, at most `prefetch` unanswered at any time.

        `deliver` is called in the event loop, also from inside `publish` and `ack`: it takes note
        of the delivery, returns at once and does not raise. A consumer that the broker ends is
        started again; messages that a dead-lettered queue or a lost connection gives back are
        delivered again. Leaving stops it, and gives back what is unanswered.
        """
        ...

    async def get(self, queue: Queue) -> Delivery | None:
        """One message, if there is one now."""
        ...

    async def depth(self, queue: Queue) -> int:
        """How many messages wait in the queue; 0 if there is no such queue."""
        ...

    async def purge(self, queue: Queue) -> int:
        """Drop the waiting messages and say how many they were."""
        ...

    def slots(self, name: str, limit: int) -> AbstractAsyncContextManager[Slots]:
        """The mesh-wide places under `name`, of which there are `limit`.

        If others gave another limit, the last one given counts. Leaving gives back what is held.
        """
        ...

    def lease(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """Wait until the lease is ours; leaving gives it to the next who waits.

        When it is lost meanwhile, what is inside is cancelled, and BrokerUnavailable raised for it.
        """
        ...


class BrokerInspector(Protocol):
    """Looks into a broker without changing anything in it: what `eventmesh doctor` asks.

    Everything may raise BrokerUnavailable and AccessDenied.
    """

    async def server(self) -> BrokerInfo:
        """What the broker says of itself."""
        ...

    async def describe(self, queue: Queue) -> QueueInfo | None:
        """The queue as it is; None if there is no such queue."""
        ...

    async def lost(self) -> LostMessages:
        """The delayed messages that are kept because their queue was gone when they were due."""
        ...


class BrokerAdapter(Protocol):
    """A kind of broker, registered under the scheme of its URLs: see `brokers/registry.py`."""

    @property
    def shared(self) -> bool:
        """Whether other processes can use the same broker, at the same URL."""
        ...

    def open(self, url: str, name: str, *, connect_timeout: float | None) -> Broker:
        """The broker at a URL, to be entered. It serves hosts, commands and clients alike.

        `name` is what the broker's own tools call its connections. `connect_timeout` is how many
        seconds entering waits for them; None waits for as long as it takes.

        Raises SettingsError, without the password, for a URL that cannot be used.
        """
        ...

    def inspect(self, url: str, name: str) -> AbstractAsyncContextManager[BrokerInspector]:
        """The inspector of the broker at a URL, usable while entered. Raises as `open` does."""
        ...
