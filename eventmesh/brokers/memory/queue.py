"""One queue of the embedded broker, with its messages and its consumers.

It consists of plain calls in one event loop: a message goes from its publisher to a consumer's
`deliver` without a task, lock or timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from eventmesh.aio.clock import Clock
from eventmesh.model.message import Message
from eventmesh.model.topology import Queue


class MemoryDelivery:
    """A message that waits in a queue, and is then held by a consumer until it is settled.

    A message that is requeued becomes a new delivery, so that settling the old one has no effect.
    """

    __slots__ = ("_unacked", "losses", "message", "number", "queue", "redeliveries")

    def __init__(
        self,
        queue: MemoryQueue,
        message: Message,
        number: int,
        redeliveries: int = 0,
        losses: int = 0,
    ) -> None:
        self.queue = queue
        self.message = message
        self.number = number
        self.redeliveries = redeliveries
        self.losses = losses
        self._unacked: set[MemoryDelivery] | None = None

    def deliver_to(self, unacked: set[MemoryDelivery]) -> None:
        """Hand it to a consumer, which keeps it in its `unacked` deliveries until it is settled."""
        self._unacked = unacked
        unacked.add(self)

    @property
    def held(self) -> bool:
        return self._unacked is not None

    @property
    def stale(self) -> bool:
        return self._unacked is None

    def ack(self) -> None:
        if self._settle():
            self.queue.on_ack()

    def requeue(self) -> None:
        if self._settle():
            self.queue.requeue(self, self.losses)

    def lose(self) -> None:
        """Requeue it because its consumer is gone. This counts as a loss."""
        if self._settle():
            self.queue.requeue(self, self.losses + 1)

    def _settle(self) -> bool:
        if self._unacked is None:
            return False
        self._unacked.discard(self)
        self._unacked = None
        return True


class MemoryConsumer:
    """Takes deliveries of one queue, at most `prefetch` unacked at any time, until stopped."""

    __slots__ = ("_closed", "_deliver", "_prefetch", "_queue", "unacked")

    def __init__(
        self, queue: MemoryQueue, deliver: Callable[[MemoryDelivery], None], prefetch: int
    ) -> None:
        self._queue = queue
        self._deliver = deliver
        self._prefetch = prefetch
        self._closed = False
        self.unacked: set[MemoryDelivery] = set()

    @property
    def free(self) -> bool:
        """Whether it takes another delivery now."""
        return len(self.unacked) < self._prefetch and not self._closed

    def take(self, delivery: MemoryDelivery) -> None:
        delivery.deliver_to(self.unacked)
        self._deliver(delivery)

    async def stop(self) -> None:
        self.close()

    async def resize(self, prefetch: int) -> None:
        self._prefetch = prefetch
        self._queue.pump()

    def close(self) -> None:
        self._closed = True


class MemoryQueue:
    """A first-in, first-out queue. Its consumers take turns.

    `changed` is called whenever a message is acknowledged or requeued.
    """

    __slots__ = (
        "_changed",
        "_clock",
        "_consumers",
        "_pumping",
        "_ready",
        "_scheduled",
        "_stored",
        "_taken",
        "kind",
        "max_length",
        "name",
    )

    def __init__(self, queue: Queue, clock: Clock, changed: Callable[[], None]) -> None:
        self.name = queue.name
        self.kind = queue.kind
        self.max_length = queue.max_length
        self._clock = clock
        self._changed = changed
        self._ready: deque[MemoryDelivery] = deque()
        self._taken: set[MemoryDelivery] = set()
        self._consumers: deque[MemoryConsumer] = deque()
        self._stored = 0
        self._pumping = False
        self._scheduled = False

    @property
    def ready(self) -> int:
        """How many messages wait."""
        return len(self._ready)

    @property
    def unacked(self) -> int:
        """How many messages are delivered and neither acknowledged nor requeued."""
        return len(self._taken) + sum(len(consumer.unacked) for consumer in self._consumers)

    @property
    def consumers(self) -> int:
        return len(self._consumers)

    @property
    def busy(self) -> bool:
        """Whether a message is unacked, or about to be delivered."""
        return self.unacked > 0 or (self.ready > 0 and self._has_free_consumer())

    @property
    def full(self) -> bool:
        """Whether there is no room for another message."""
        if self.max_length == 0:
            return not self._has_free_consumer()
        return len(self._ready) >= self.max_length

    def put(self, message: Message) -> None:
        """Store a message at the end. The caller checks `full` before."""
        self._stored += 1
        self._ready.append(MemoryDelivery(self, message, self._stored, message.redeliveries))
        if self._consumers:
            self.pump()

    def requeue(self, delivery: MemoryDelivery, losses: int) -> None:
        """Store a delivered message again where it was: before all that were stored later."""
        index = 0
        for waiting in self._ready:
            if waiting.number > delivery.number:
                break
            index += 1
        again = MemoryDelivery(
            self, delivery.message, delivery.number, delivery.redeliveries + 1, losses
        )
        self._ready.insert(index, again)
        self._pump_soon()
        self._changed()

    def on_ack(self) -> None:
        """Deliver the next message: a consumer that acknowledged one may take another."""
        if self._ready:
            self.pump()
        self._changed()

    def withdraw(self, message: Message) -> None:
        """Remove a message if it still waits."""
        for index, waiting in enumerate(self._ready):
            if waiting.message is message:
                del self._ready[index]
                return

    def get(self) -> MemoryDelivery | None:
        """Take the first message, ahead of all consumers."""
        delivery = self._next()
        if delivery is not None:
            delivery.deliver_to(self._taken)
        return delivery

    def purge(self) -> int:
        count = len(self._ready)
        self._ready.clear()
        return count

    def attach(self, consumer: MemoryConsumer) -> None:
        self._consumers.append(consumer)
        self.pump()

    def detach(self, consumer: MemoryConsumer) -> None:
        """Remove a consumer. Its unacked messages are requeued, and count as lost."""
        self._consumers.remove(consumer)
        # The last one first: each is then inserted at the very front.
        for delivery in sorted(consumer.unacked, key=_number, reverse=True):
            delivery.lose()

    def close(self) -> None:
        """Deliver nothing more, and drop all messages."""
        self._ready.clear()
        for consumer in self._consumers:
            consumer.close()

    def _has_free_consumer(self) -> bool:
        return any(consumer.free for consumer in self._consumers)

    def pump(self) -> None:
        """Deliver what waits, for as long as a consumer takes it.

        Acknowledging inside `deliver` leads here again: the call that is running continues then.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            # No more than wait now: what is requeued inside `deliver` is left to the next pass.
            for _ in range(len(self._ready)):
                consumer = self._next_consumer()
                if consumer is None:
                    return
                delivery = self._next()
                if delivery is None:
                    return
                consumer.take(delivery)
        finally:
            self._pumping = False

    def _pump_soon(self) -> None:
        # Not at once: a consumer that requeues everything would never yield to other tasks.
        if self._consumers and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump_scheduled)

    def _pump_scheduled(self) -> None:
        self._scheduled = False
        self.pump()
        self._changed()

    def _next_consumer(self) -> MemoryConsumer | None:
        """Return the free consumer whose turn it is."""
        consumers = self._consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.free:
                return consumer
        return None

    def _next(self) -> MemoryDelivery | None:
        """Remove the first message; of an RPC queue, the first whose caller still waits."""
        while self._ready:
            delivery = self._ready.popleft()
            if self.kind != "rpc" or not self._expired(delivery.message):
                return delivery
        return None

    def _expired(self, message: Message) -> bool:
        return message.deadline is not None and message.deadline <= self._clock.monotonic()


def _number(delivery: MemoryDelivery) -> int:
    return delivery.number
