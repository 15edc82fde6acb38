"""What each queue is on RabbitMQ 3.10 to 4.3, without plugins: pure data.

docs/rabbitmq.md lists the names and arguments, and says what each is for. Everything is durable;
from 4.3 on RabbitMQ refuses transient queues that are not exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, Literal, Protocol, TypeAlias

from eventmesh.brokers.rabbitmq.limits import CONSUMER_TIMEOUT_MS, CRASH_LIMIT, NO_DELIVERY_LIMIT
from eventmesh.model.topology import Queue, dead_letters, inbox
from eventmesh.model.value import value

QueueArguments: TypeAlias = Mapping[str, str | int | bool]

UNUSED_QUEUE_MS: Final = 60_000
UNUSED_BROADCAST_MS: Final = 300_000
"""Milliseconds after which a queue without consumers goes. An instance that lost its connection
may come back within them and finds its copies of the events."""


@value
class QueueDeclaration:
    """A queue of ours, with its arguments."""

    name: str
    arguments: QueueArguments


@value
class ForeignQueue:
    """A queue of another system: it has to be there, and is left as it is."""

    name: str


@value
class ExchangeDeclaration:
    """An exchange of ours."""

    name: str
    kind: Literal["topic", "fanout"] = "topic"
    arguments: QueueArguments | None = None


@value
class BindingDeclaration:
    """What `source` gets with a fitting routing key goes to a queue, or to another exchange."""

    source: str
    destination: str
    key: str
    to: Literal["queue", "exchange"] = "queue"


Declaration: TypeAlias = QueueDeclaration | ForeignQueue | ExchangeDeclaration | BindingDeclaration


class Declarer(Protocol):
    """Who carries declarations out."""

    @property
    def connection_generation(self) -> int:
        """How many connections were lost: what was there before may be gone."""
        ...

    async def carry_out(self, declarations: Sequence[Declaration]) -> None:
        """Make what is not there yet, in this order. Raises as `Management.carry_out` does."""
        ...


_INBOX: Final = inbox("").name


def binding_key(pattern: str) -> str:
    """The binding key of an event pattern: the shortest that fits the same events.

    Wildcards in a row are so many `*` and one `#`. From 4.3 on RabbitMQ refuses a key with more
    than two `#`; only those with words between them are left.
    """
    words: list[str] = []
    for wild, run in groupby(pattern.split("."), key=_WILDCARDS.__contains__):
        run_of_words = list(run)
        if wild and "#" in run_of_words:
            run_of_words = [word for word in run_of_words if word == "*"] + ["#"]
        words += run_of_words
    return ".".join(words)


_WILDCARDS: Final = frozenset(("*", "#"))


def quorum(
    *, limit: int, max_length: int | None = None, **others: str | int | bool
) -> QueueArguments:
    """The arguments of a quorum queue that refuses what it has no room for."""
    arguments: dict[str, str | int | bool] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": limit,
        "x-overflow": "reject-publish",
    }
    if max_length is not None:
        arguments["x-max-length"] = max_length
    return arguments | {f"x-{name.replace('_', '-')}": each for name, each in others.items()}


def queue_declarations(queue: Queue) -> Iterator[Declaration]:
    """The queue, after the queue of its dead letters, if it has one."""
    if not queue.declare:
        yield ForeignQueue(queue.name)
        return
    if queue.kind == "inbox":
        # RabbitMQ keeps what it cannot dead-letter, and dead-letters nothing else meanwhile.
        yield from queue_declarations(dead_letters(queue.name.removeprefix(_INBOX)))
    yield QueueDeclaration(queue.name, queue_arguments(queue))


def queue_arguments(queue: Queue) -> QueueArguments:
    """The arguments of a queue of ours."""
    match queue.kind:
        case "inbox":
            return quorum(
                limit=CRASH_LIMIT,
                max_length=queue.max_length,
                dead_letter_exchange="",
                dead_letter_routing_key=dead_letters(queue.name.removeprefix(_INBOX)).name,
                dead_letter_strategy="at-least-once",
                consumer_timeout=CONSUMER_TIMEOUT_MS,
            )
        case "dead" | "named":
            # Nothing takes what reaches the limit of these: so nothing may reach it.
            return quorum(
                limit=NO_DELIVERY_LIMIT,
                max_length=queue.max_length,
                consumer_timeout=CONSUMER_TIMEOUT_MS,
            )
        case "rpc":
            return {
                "x-queue-type": "classic",
                "x-expires": UNUSED_QUEUE_MS,
                # A length of 0 would refuse everything, also what a consumer waits for.
                "x-max-length": max(queue.max_length, 1),
                "x-overflow": "reject-publish",
            }
        case "broadcast":
            return {
                "x-queue-type": "classic",
                "x-expires": UNUSED_BROADCAST_MS,
                "x-max-length": queue.max_length,
                # One instance that hangs must not keep all others from being told.
                "x-overflow": "drop-head",
            }
        case "presence":
            return {
                "x-queue-type": "classic",
                "x-expires": UNUSED_QUEUE_MS,
                "x-max-length": queue.max_length,
                "x-overflow": "drop-head",
            }
