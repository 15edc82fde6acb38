"""One queue of the embedded broker: what waits in it and who takes from it.

All is plain calls in one event loop: a message goes from its publisher to a consumer's `deliver`
with no task, lock or timer of its own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from eventmesh.aio.clock import Clock
from eventmesh.model.message import Message
from eventmesh.model.topology import Queue


class MemoryDelivery:
    """A message in a queue, and then in the hands of whoever took it.

    What comes back into the queue is a new delivery, so that an answer to the old one can do
    nothing to it.
    """

    __slots__ = ("_unanswered", "message", "number", "queue", "redeliveries")

    def __init__(
        self, queue: MemoryQueue, message: Message, number: int, redeliveries: int = 0
    ) -> None:
        self.queue = queue
        self.message = message
        self.number = number
        self.redeliveries = redeliveries
        self._unanswered: set[MemoryDelivery] | None = None

    def hand_to(self, unanswered: set[MemoryDelivery]) -> None:
        """Somebody took it, and keeps it among the `unanswered` until the answer."""
        self._unanswered = unanswered
        unanswered.add(self)

    @property
    def stale(self) -> bool:
        return self._unanswered is None

    def ack(self) -> None:
        if self._answer():
            self.queue.answered()

    def requeue(self) -> None:
        if self._answer():
            self.queue.put_back(self, self.redeliveries)

    def lose(self) -> None:
        """Whoever took it is gone without an answer."""
        if self._answer():
            self.queue.put_back(self, self.redeliveries + 1)

    def _answer(self) -> bool:
        if self._unanswered is None:
            return False
        self._unanswered.discard(self)
        self._unanswered = None
        return True


class MemoryConsumer:
    """Takes from one queue, at most `prefetch` unanswered at any time; once stopped, nothing."""

    __slots__ = ("_deliver", "_prefetch", "unanswered")

    def __init__(self, deliver: Callable[[MemoryDelivery], None], prefetch: int) -> None:
        self._deliver = deliver
        self._prefetch = prefetch
        self.unanswered: set[MemoryDelivery] = set()

    @property
    def free(self) -> bool:
        """Whether it would take another delivery now."""
        return len(self.unanswered) < self._prefetch

    def take(self, delivery: MemoryDelivery) -> None:
        delivery.hand_to(self.unanswered)
        self._deliver(delivery)

    async def stop(self) -> None:
        self.close()

    def close(self) -> None:
        self._prefetch = 0


class MemoryQueue:
    """First in, first out; several consumers take in turn.

    `changed` is called whenever a message left for good or came back.
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
    def unanswered(self) -> int:
        """How many messages somebody has taken and not answered."""
        return len(self._taken) + sum(len(consumer.unanswered) for consumer in self._consumers)

    @property
    def consumers(self) -> int:
        return len(self._consumers)

    @property
    def busy(self) -> bool:
        """Whether somebody has a message to answer, or is about to get one."""
        return self.unanswered > 0 or (self.ready > 0 and self._has_free_consumer())

    @property
    def full(self) -> bool:
        """Whether another message would have to wait and there is no room for it to do so."""
        if self.max_length == 0:
            return not self._has_free_consumer()
        return len(self._ready) >= self.max_length

    def put(self, message: Message) -> None:
        """Store a message at the end. Whether there is room is asked before: see `full`."""
        self._stored += 1
        self._ready.append(MemoryDelivery(self, message, self._stored))
        if self._consumers:
            self._pump()

    def put_back(self, delivery: MemoryDelivery, redeliveries: int) -> None:
        """Store again what was taken, where it was: before everything that was stored later."""
        place = 0
        for waiting in self._ready:
            if waiting.number > delivery.number:
                break
            place += 1
        again = MemoryDelivery(self, delivery.message, delivery.number, redeliveries)
        self._ready.insert(place, again)
        self._pump_soon()
        self._changed()

    def answered(self) -> None:
        """Somebody is done with a message, and may take another."""
        if self._ready:
            self._pump()
        self._changed()

    def withdraw(self, message: Message) -> None:
        """Take a message out that nobody wants any more, if it still waits."""
        for place, waiting in enumerate(self._ready):
            if waiting.message is message:
                del self._ready[place]
                return

    def get(self) -> MemoryDelivery | None:
        """Take the first message, past all consumers."""
        delivery = self._next()
        if delivery is not None:
            delivery.hand_to(self._taken)
        return delivery

    def purge(self) -> int:
        count = len(self._ready)
        self._ready.clear()
        return count

    def attach(self, consumer: MemoryConsumer) -> None:
        self._consumers.append(consumer)
        self._pump()

    def detach(self, consumer: MemoryConsumer) -> None:
        """The consumer is gone: what it left unanswered comes back, and counts as redelivered."""
        self._consumers.remove(consumer)
        # The last one first: each then goes to the very front, before all that waits.
        for delivery in sorted(consumer.unanswered, key=_number, reverse=True):
            delivery.lose()

    def close(self) -> None:
        """Deliver nothing any more, and forget everything."""
        self._ready.clear()
        for consumer in self._consumers:
            consumer.close()

    def _has_free_consumer(self) -> bool:
        return any(consumer.free for consumer in self._consumers)

    def _pump(self) -> None:
        """Hand over what waits, for as long as a consumer takes it.

        An answer given inside `deliver` comes back here: the call that is under way goes on then.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            # No more than waits now: what is requeued inside `deliver` is left to the next pass.
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
        # Not at once: a consumer that requeues all it gets would never let others run.
        if self._consumers and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._pump_scheduled)

    def _pump_scheduled(self) -> None:
        self._scheduled = False
        self._pump()
        self._changed()

    def _next_consumer(self) -> MemoryConsumer | None:
        """The free consumer whose turn it is."""
        consumers = self._consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.free:
                return consumer
        return None

    def _next(self) -> MemoryDelivery | None:
        """The first message; in a line, the first whose caller still waits for it."""
        while self._ready:
            delivery = self._ready.popleft()
            if self.kind != "rpc" or not self._expired(delivery.message):
                return delivery
        return None

    def _expired(self, message: Message) -> bool:
        return message.deadline is not None and message.deadline <= self._clock.now()


def _number(delivery: MemoryDelivery) -> int:
    return delivery.number
