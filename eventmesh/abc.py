"""The interfaces between the parts.

A source makes an `Invocation` of each request or message, passes it to a `Handler`, and settles the
`Result`. A `Broker` carries messages between processes. Code that enters one of these context
managers owns it, and leaves it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from eventmesh.model.broker import BrokerInfo, LostMessages, QueueInfo
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import Binding, Queue, Route

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Handler: TypeAlias = Callable[[Invocation], Awaitable[Result]]
"""Runs one invocation. Every outcome is a `Result`, also errors; only cancellation is raised."""

Middleware: TypeAlias = Callable[[Handler], Handler]
"""Folded around a function's handler once, when its pipeline is built."""


class Callee(Protocol[P, R_co]):
    """A declared function: it has a name in the mesh and calls like the plain function."""

    @property
    def full_name(self) -> str: ...

    @property
    def result_type(self) -> Any:
        """The annotation of its result; for a function that yields, a list of its items."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Transport(Protocol):
    """Carries calls: over a broker, or over HTTP to a mesh.

    All three raise BrokerUnavailable if the other side is unreachable. They wait no longer than the
    message's deadline, or than a bound of their own if it has none.
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
        """Return once it is stored for every subscriber."""
        ...


class Delivery(Protocol):
    """A message that a broker has delivered, to be acknowledged or requeued exactly once.

    After the connection was lost, both have no effect: the broker delivers the message again.
    """

    @property
    def message(self) -> Message: ...

    @property
    def number(self) -> int:
        """Its place among the deliveries of its consumer, which come in this order."""
        ...

    @property
    def redeliveries(self) -> int:
        """How often it was delivered before, as far as the broker counts: a run may have begun."""
        ...

    @property
    def losses(self) -> int:
        """How often the broker counts that it lost the consumer that held it.

        RabbitMQ up to 4.2 counts a requeue as well; of a classic queue this is 1 at most.
        """
        ...

    @property
    def held(self) -> bool:
        """Whether it is neither acknowledged nor requeued, and its connection is not lost."""
        ...

    @property
    def stale(self) -> bool:
        """Whether its connection is lost. A delivery whose run has not begun need not be run."""
        ...

    def ack(self) -> None:
        """Acknowledge it: the broker deletes the message."""
        ...

    def requeue(self) -> None:
        """Return it to its queue unchanged, to be delivered again soon. This spends no attempt."""
        ...


class Subscription(Protocol):
    """A live consumer of one queue."""

    async def stop(self) -> None:
        """Stop the intake: nothing is delivered once this has returned."""
        ...

    async def resize(self, prefetch: int) -> None:
        """Have at most `prefetch` deliveries unacked at any time from now on; at least 1.

        If more are held already, they stay held, and once this has returned nothing is delivered
        before fewer are. Does nothing to a consumer that was stopped.
        """
        ...


class Slots(Protocol):
    """Permits for concurrent runs of one function in the whole mesh.

    Slots are lost with the connection. Their runs go on, so that for a while the mesh may run more
    than the limit: that is logged, and these runs get slots again before new ones do.
    """

    async def acquire(self) -> None:
        """Take a slot, waiting until one is free. Cancelling the wait loses none."""
        ...

    def release(self) -> None:
        """Return a slot. Does nothing if none is held: it may have been lost meanwhile."""
        ...


class Lease(Protocol):
    """The right to do something alone in the mesh, with a few bytes that outlive the holder."""

    @property
    def state(self) -> bytes: ...

    async def save(self, state: bytes) -> None:
        """Store the state. Raises BrokerUnavailable when the lease is lost."""
        ...


class Broker(Protocol):
    """Carries messages: RabbitMQ, or the embedded broker. One contract suite tests all of them.

    Entering connects, leaving closes. Every method may raise BrokerUnavailable.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

    @property
    def ready(self) -> bool:
        """Whether it takes messages now, and each subscription has its consumer."""
        ...

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding] = ()) -> None:
        """Create the queues and bindings that do not exist yet."""
        ...

    def abandon(self) -> None:
        """Wait for no answer any more: the process has no time left.

        Drops the connections. What is not settled is delivered again, and every call that waits
        for the broker, or begins later, ends with BrokerUnavailable.
        """
        ...

    async def unbind(self, bindings: Sequence[Binding], keep: Sequence[Binding] = ()) -> None:
        """Remove these bindings, where they exist; what is in the queues stays.

        What `keep` needs is not removed: two patterns may be one binding on a broker. Raises
        AccessDenied.
        """
        ...

    async def publish(
        self, route: Route, message: Message, *, delay: float = 0.0, give_up: bool = True
    ) -> None:
        """Return once the broker holds the message, to be delivered in `delay` seconds.

        A message that was sent and is not confirmed in time may be stored or not. Without `give_up`
        the wait for its confirm ends only with the connection: to be published again because the
        broker was slow would make copies. The caller limits that wait.

        Raises FunctionNotFound if a mandatory route leads to no queue, Throttled if a queue at its
        end is full, and PayloadTooLarge for a body over MAX_BODY. A delayed message is not lost if
        its queue is full when it is due. Characters that UTF-8 cannot encode arrive as "?".
        """
        ...

    async def request(self, route: Route, message: Message) -> Message:
        """Publish and wait for the reply, until the message's deadline, which must be set.

        Raises FunctionNotFound, Throttled (the queue is full), InvocationTimeout, and
        PayloadTooLarge for a body over MAX_BODY.
        """
        ...

    def reply(self, request: Message, reply: Message) -> None:
        """Reply to a request. Does nothing if its caller has stopped waiting.

        Raises PayloadTooLarge for a body over MAX_BODY.
        """
        ...

    def consume(
        self, queue: Queue, deliver: Callable[[Delivery], None], *, prefetch: int
    ) -> AbstractAsyncContextManager[Subscription]:
        """Deliver the messages of a queue, at most `prefetch` unacked at any time.

        `deliver` is called in the event loop, also from inside `publish` and `ack`: it must keep
        the delivery, return at once and not raise. A consumer that the broker cancels is started
        again, and unacked messages of a lost connection are delivered again. Leaving stops the
        consumer, and requeues unacked messages.
        """
        ...

    async def get(self, queue: Queue) -> Delivery | None:
        """Take one message, or None if there is none now.

        Requeued messages come before those that were never taken. They keep their order if all
        taken messages are requeued in it.
        """
        ...

    async def depth(self, queue: Queue) -> int:
        """Return how many messages wait in the queue; 0 if it does not exist.

        A message that was requeued a moment ago may not be counted yet.
        """
        ...

    async def list_queues(self) -> Sequence[str] | None:
        """Return the names of all queues; None if the broker has no way to list them."""
        ...

    async def purge(self, queue: Queue) -> int:
        """Delete the waiting messages, and return how many there were."""
        ...

    async def delete(self, queue: Queue) -> int:
        """Delete a queue that nobody consumes, and return how many messages it had.

        Does nothing if it does not exist. Raises DeclarationError if it has a consumer, and
        AccessDenied.
        """
        ...

    def slots(self, name: str, limit: int) -> AbstractAsyncContextManager[Slots]:
        """Share the `limit` mesh-wide slots under `name`.

        If others gave another limit, the last one counts. Leaving returns the held slots.
        """
        ...

    def lease(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """Wait for the lease and hold it; leaving passes it to the next that waits.

        If it is lost meanwhile, the block is cancelled, and BrokerUnavailable is raised for it.
        """
        ...


class BrokerInspector(Protocol):
    """Inspects a broker for `eventmesh doctor`, without changing anything in it.

    Every method may raise BrokerUnavailable and AccessDenied.
    """

    async def server(self) -> BrokerInfo:
        """Return the broker's product, version, cluster and missing capabilities."""
        ...

    async def describe(self, queue: Queue) -> QueueInfo | None:
        """Describe a queue; None if it does not exist."""
        ...

    async def lost(self) -> LostMessages:
        """Count the delayed messages whose queue was gone when they were due."""
        ...


class BrokerAdapter(Protocol):
    """A kind of broker, registered under the scheme of its URLs: see `brokers/registry.py`."""

    @property
    def shared(self) -> bool:
        """Whether other processes can use the same broker, at the same URL."""
        ...

    def open(self, url: str, name: str, *, connect_timeout: float | None) -> Broker:
        """Return the broker at a URL, which connects when it is entered.

        `name` is the name of its connections in the broker's own tools. Entering waits
        `connect_timeout` seconds for them; None waits without a limit.

        Raises SettingsError, without the password, for a URL that cannot be used.
        """
        ...

    def inspect(self, url: str, name: str) -> AbstractAsyncContextManager[BrokerInspector]:
        """Return an inspector of the broker at a URL, for use while entered. Raises as `open`."""
        ...
