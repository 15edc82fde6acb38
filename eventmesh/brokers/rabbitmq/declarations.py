"""The declarations of queues on RabbitMQ 3.10 to 4.3 without plugins, as pure data.

docs/rabbitmq.md lists the names and arguments with their reasons. Everything is durable: from 4.3
on RabbitMQ refuses transient queues that are not exclusive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from eventmesh.brokers.rabbitmq.access.names import Names, inlet
from eventmesh.brokers.rabbitmq.limits import CONSUMER_TIMEOUT_MS, CRASH_LIMIT, NO_DELIVERY_LIMIT
from eventmesh.model.topology import Queue, dead_letters, inbox
from eventmesh.model.value import value

QueueArguments: TypeAlias = Mapping[str, str | int | bool]

LEADER_LOCATOR: Final = "x-queue-leader-locator"
CONSUMER_TIMEOUT: Final = "x-consumer-timeout"

SHORT_LIVED: Final = frozenset(("rpc", "broadcast", "presence"))
"""Kinds of queues that expire soon after their users have gone."""

UNUSED_QUEUE_MS: Final = 60_000
UNUSED_BROADCAST_MS: Final = 300_000
"""Milliseconds after which a queue without consumers expires. An instance that comes back sooner
after a lost connection finds its copies of the events."""


@value
class Server:
    """What of a RabbitMQ decides the arguments of queues: its version, and whether it has nodes.

    On a `cluster` what others wait for is replicated, so that it outlives the node that has it.
    """

    version: tuple[int, ...] = ()
    cluster: bool = False

    @property
    def limits_unacked_classic(self) -> bool:
        """Whether a classic queue takes back what is unacked for too long.

        From 4.3 on it does not, and refuses the argument that says after how long.
        """
        return self.version < (4, 3)


@value
class QueueDeclaration:
    """A queue of ours, with its arguments.

    One of `any_type` is used as it is if it exists with another type: what is in it is of no use
    without those who use it now, and they may have been told other things of the broker.
    """

    name: str
    arguments: QueueArguments
    any_type: bool = False

    def without(self, argument: str) -> QueueDeclaration:
        """Return the same without one of its arguments."""
        arguments = {key: each for key, each in self.arguments.items() if key != argument}
        return QueueDeclaration(self.name, arguments, self.any_type)


@value
class ForeignQueue:
    """A queue of another system: it must exist, and is not changed."""

    name: str


@value
class ExchangeDeclaration:
    """An exchange of ours."""

    name: str
    kind: Literal["topic", "fanout"] = "topic"
    arguments: QueueArguments | None = None


@value
class BindingDeclaration:
    """Routes messages of the exchange `source` with a matching key to a queue or an exchange."""

    source: str
    destination: str
    key: str
    to: Literal["queue", "exchange"] = "queue"


Declaration: TypeAlias = QueueDeclaration | ForeignQueue | ExchangeDeclaration | BindingDeclaration


class Declarer(Protocol):
    """Carries out declarations."""

    @property
    def connection_generation(self) -> int:
        """The number of lost connections: earlier declarations may be gone after each."""
        ...

    async def carry_out(self, declarations: Sequence[Declaration]) -> None:
        """Create what does not exist yet, in this order. Raises as `Management.carry_out` does."""
        ...


_INBOX: Final = inbox("").name


def without_repetitions(declarations: Iterable[Declaration]) -> list[Declaration]:
    """Return each declaration once, the first one: an inbox brings dead letters, as others do."""
    found: dict[object, Declaration] = {}
    for each in declarations:
        found.setdefault(
            each if isinstance(each, BindingDeclaration) else (type(each), each.name), each
        )
    return list(found.values())


def quorum(
    *, limit: int, max_length: int | None = None, **others: str | int | bool
) -> QueueArguments:
    """Return the arguments of a quorum queue that rejects publishes when it is full.

    Its leader is where there are the fewest, whichever node its user is connected to.
    """
    arguments: dict[str, str | int | bool] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": limit,
        "x-overflow": "reject-publish",
        LEADER_LOCATOR: "balanced",
    }
    if max_length is not None:
        arguments["x-max-length"] = max_length
    return arguments | {f"x-{name.replace('_', '-')}": each for name, each in others.items()}


def queue_declarations(
    queue: Queue, names: Names | None = None, server: Server | None = None
) -> Iterator[Declaration]:
    """Yield the declarations of a queue: first its dead-letter queue, if it has one.

    With `names` it is one of the restricted topology, where what others send comes from its inlet.
    """
    if not queue.declare:
        yield ForeignQueue(queue.name)
        return
    if queue.kind == "inbox":
        # Without it RabbitMQ would keep the first message to dead-letter, and stop at that one.
        dead = dead_letters(queue.name.removeprefix(_INBOX))
        yield from queue_declarations(dead, names, server)
    arguments = queue_arguments(queue, server, restricted=names is not None)
    yield QueueDeclaration(queue.name, arguments, any_type=queue.kind in SHORT_LIVED)
    if names is not None and queue.kind in _WITH_INLET:
        yield BindingDeclaration(inlet(queue.name), queue.name, "")


_WITH_INLET: Final = frozenset(("inbox", "rpc", "dead", "named"))


def queue_arguments(
    queue: Queue, server: Server | None = None, *, restricted: bool = False
) -> QueueArguments:
    """Return the arguments of a queue of ours, perhaps of the restricted topology.

    Without a `server` they are those of a single node before 4.3.
    """
    server = server or Server()
    if queue.kind in SHORT_LIVED:
        return _short_lived(queue, server)
    match queue.kind:
        case "inbox":
            dead = dead_letters(queue.name.removeprefix(_INBOX)).name
            return quorum(
                limit=CRASH_LIMIT,
                max_length=queue.max_length,
                dead_letter_exchange=inlet(dead) if restricted else "",
                dead_letter_routing_key=dead,
                dead_letter_strategy="at-least-once",
                consumer_timeout=CONSUMER_TIMEOUT_MS,
            )
        case "dead" | "named":
            # RabbitMQ would drop a message at the limit: so no message may reach it.
            return quorum(
                limit=NO_DELIVERY_LIMIT,
                max_length=queue.max_length,
                consumer_timeout=CONSUMER_TIMEOUT_MS,
            )
        case _:
            raise ValueError(f"{queue.kind!r} is no kind of queue")


def _short_lived(queue: Queue, server: Server) -> QueueArguments:
    """Return the arguments of a queue that goes with its users.

    On a cluster it is a quorum queue. A classic one has one node: when that dies, RabbitMQ up to
    3.10 drops what goes there, and later versions refuse it, also an event for all others. No other
    node can declare it as long as that one is away.
    """
    arguments: dict[str, str | int | bool] = {
        "x-expires": UNUSED_BROADCAST_MS if queue.kind == "broadcast" else UNUSED_QUEUE_MS,
        # A length of 0 would refuse every message, even if a consumer is idle.
        "x-max-length": max(queue.max_length, 1),
        # An instance that hangs must not keep events from all others.
        "x-overflow": "reject-publish" if queue.kind == "rpc" else "drop-head",
    }
    if server.cluster or server.limits_unacked_classic:
        arguments[CONSUMER_TIMEOUT] = CONSUMER_TIMEOUT_MS
    if server.cluster:
        return {**quorum(limit=NO_DELIVERY_LIMIT), **arguments}
    return {"x-queue-type": "classic", **arguments}
