"""The embedded broker: a broker inside this process."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from itertools import count
from typing import Final, Self, TypeVar

from eventmesh.abc import Delivery, Lease, Slots, Subscription
from eventmesh.aio.clock import Clock, SystemClock, TimerHandle
from eventmesh.brokers.memory.exchange import TopicExchange
from eventmesh.brokers.memory.queue import MemoryConsumer, MemoryQueue
from eventmesh.brokers.memory.slots import (
    CLOSED,
    MemoryLease,
    MemorySlots,
    ResizableSemaphore,
    SharedLease,
)
from eventmesh.model.duration import format_seconds
from eventmesh.model.errors import (
    BrokerUnavailable,
    DeclarationError,
    FunctionNotFound,
    InvocationTimeout,
    Throttled,
    consumed,
)
from eventmesh.model.message import Message, check_size, utf8
from eventmesh.model.topology import Binding, Queue, Route
from eventmesh.model.value import copier, value

T = TypeVar("T")

MAX_DELAYED: Final = 1_000_000
"""Delayed messages held at once before another is refused."""

REPLIES: Final = "em.replies"
"""The `reply_to` of every request; the correlation id says who waits."""

_INSTANCE_QUEUES: Final = ("broadcast", "presence")
"""Kinds of queues that are deleted with their last consumer."""

_with_return_address: Final = copier(Message, "reply_to", "correlation_id")

YIELD_EVERY: Final = 64
"""Messages published in a row before the event loop gets to run other tasks."""

_NOT_OPEN = "the embedded broker is not open: enter it first, with 'async with'"


@value
class QueueStatistics:
    """How many messages of a queue are ready, unacked and delayed, and how many consumers it has.

    A delayed event is counted at each queue to which it would be routed now.
    """

    ready: int
    unacked: int
    delayed: int
    consumers: int


@value
class _Delayed:
    route: Route
    message: Message
    timer: TimerHandle


class MemoryBroker:
    """A broker inside this process that behaves as RabbitMQ does. Nothing outlives the process.

    Its owner enters it, once; all services of the process then share it. A queue exists from when
    it is declared, or first consumed, until the broker closes; a queue of one instance
    (`broadcast`, `presence`) only until its last consumer leaves. If a queue is declared with two
    lengths, the last one counts. A queue of another system is created like any other.

    Messages are delivered from inside `publish` and `ack`, so a consumer's `deliver` must return at
    once and not raise. `clock` decides when delayed messages and deadlines are due.
    """

    def __init__(self, clock: Clock | None = None, *, max_delayed: int = MAX_DELAYED) -> None:
        self._clock: Clock = SystemClock() if clock is None else clock
        self._max_delayed = max_delayed
        self._unavailable = _NOT_OPEN
        self._queues: dict[str, MemoryQueue] = {}
        self._exchanges = defaultdict[str, TopicExchange](TopicExchange)
        self._delayed: dict[int, _Delayed] = {}
        self._requests: dict[str, asyncio.Future[Message | None]] = {}
        self._slots: dict[str, ResizableSemaphore] = {}
        self._leases: dict[str, SharedLease] = {}
        self._idle_waiters: set[asyncio.Future[None]] = set()
        self._numbers = count(1)
        self._sent = 0

    async def __aenter__(self) -> Self:
        if self._unavailable != _NOT_OPEN:
            raise RuntimeError(
                "this embedded broker was entered before: its owner enters it once, and all that "
                "share it use it without entering it; make a new one for another mesh"
            )
        self._unavailable = ""
        return self

    async def __aexit__(self, *_: object) -> None:
        self._unavailable = CLOSED
        for delayed in self._delayed.values():
            delayed.timer.cancel()
        self._delayed.clear()
        for queue in self._queues.values():
            queue.close()
        for slots in self._slots.values():
            slots.close()
        for lease in self._leases.values():
            lease.permit.close()
        for outcome in self._requests.values():
            _resolve(outcome, None)
        self._wake_idle_waiters()

    @property
    def ready(self) -> bool:
        return not self._unavailable

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding] = ()) -> None:
        """See `Broker.declare`. Raises DeclarationError if a queue is declared as two kinds."""
        self._check_open()
        for queue in queues:
            declared = self._get_or_create(queue)
            if queue.declare:
                declared.max_length = queue.max_length
        for binding in bindings:
            exchange = self._exchanges[binding.exchange]
            exchange.bind(self._get_or_create(binding.queue), binding.pattern)

    def abandon(self) -> None: ...  # No answer has to be waited for in one process.

    async def unbind(self, bindings: Sequence[Binding], keep: Sequence[Binding] = ()) -> None:
        self._check_open()
        for binding in bindings:
            queue = self._queues.get(binding.queue.name)
            if queue is not None and binding not in keep:
                self._exchanges[binding.exchange].unbind(queue, binding.pattern)

    async def publish(
        self, route: Route, message: Message, *, delay: float = 0.0, give_up: bool = True
    ) -> None:
        """See `Broker.publish`. An event is stored for all its subscribers or for none."""
        del give_up  # Here nothing is slow.
        message = _check(message)
        if message.deadline is not None:  # Nobody waits for what is stored.
            message = replace(message, deadline=None)
        if self._should_yield():
            await asyncio.sleep(0)
        queues = self._find_queues(route)
        if delay > 0:
            self._store_delayed(route, message, delay)
        else:
            _store(queues, message)

    async def request(self, route: Route, message: Message) -> Message:
        """See `Broker.request`. A request that still waits when its caller stops is removed."""
        message = _check(message)
        if message.deadline is None:
            raise ValueError(f"the request {message.id!r} has no deadline: give it one")
        if self._should_yield():
            await asyncio.sleep(0)
        queues = self._find_queues(route)
        remaining = message.deadline - self._clock.monotonic()
        if remaining <= 0:
            raise InvocationTimeout(f"{route.name} was not called: the deadline had passed")
        number = str(next(self._numbers))
        request = _with_return_address(message, reply_to=REPLIES, correlation_id=number)
        outcome: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()
        self._requests[number] = outcome
        timer = self._clock.call_later(remaining, partial(_resolve, outcome, None))
        reply = None
        try:
            _store(queues, request)
            reply = await outcome
        finally:
            timer.cancel()
            del self._requests[number]
            if reply is None:
                for queue in queues:
                    queue.withdraw(request)
            self._wake_if_idle()
        if reply is None:
            self._check_open()
            raise InvocationTimeout(
                f"{route.name} did not reply within {format_seconds(remaining)}"
            )
        return reply

    def reply(self, request: Message, reply: Message) -> None:
        outcome = self._requests.get(request.correlation_id)
        if outcome is not None:
            _resolve(outcome, _check(reply))

    @asynccontextmanager
    async def consume(
        self, queue: Queue, deliver: Callable[[Delivery], None], *, prefetch: int
    ) -> AsyncGenerator[Subscription]:
        self._check_open()
        if prefetch < 1:
            raise ValueError(f"prefetch={prefetch}: it counts messages, 1 or more")
        consumed = self._get_or_create(queue)
        consumer = MemoryConsumer(consumed, deliver, prefetch)
        consumed.attach(consumer)
        try:
            yield consumer
        finally:
            consumed.detach(consumer)
            if consumed.kind in _INSTANCE_QUEUES and not consumed.consumers:
                self._remove(consumed)

    async def get(self, queue: Queue) -> Delivery | None:
        self._check_open()
        existing = self._queues.get(queue.name)
        return None if existing is None else existing.get()

    async def depth(self, queue: Queue) -> int:
        self._check_open()
        existing = self._queues.get(queue.name)
        return 0 if existing is None else existing.ready

    async def list_queues(self) -> Sequence[str]:
        self._check_open()
        return list(self._queues)

    async def purge(self, queue: Queue) -> int:
        self._check_open()
        existing = self._queues.get(queue.name)
        return 0 if existing is None else existing.purge()

    async def delete(self, queue: Queue) -> int:
        self._check_open()
        existing = self._queues.get(queue.name)
        if existing is None:
            return 0
        if existing.consumers:
            raise consumed(queue.name, existing.consumers)
        self._remove(existing)
        return existing.ready

    @asynccontextmanager
    async def slots(self, name: str, limit: int) -> AsyncGenerator[Slots]:
        """See `Broker.slots`. They are granted in the order of asking."""
        self._check_open()
        permits = self._slots.setdefault(name, ResizableSemaphore(limit))
        permits.resize(limit)
        slots = MemorySlots(permits)
        try:
            yield slots
        finally:
            slots.close()

    @asynccontextmanager
    async def lease(self, name: str) -> AsyncGenerator[Lease]:
        self._check_open()
        shared = self._leases.setdefault(name, SharedLease(name))
        await shared.permit.acquire()
        lease = MemoryLease(shared)
        try:
            yield lease
        finally:
            lease.close()

    @property
    def idle(self) -> bool:
        """Whether nothing happens here until a message is published or the clock moves.

        No message is unacked or about to be delivered, and no request is open.
        """
        return not self._requests and not any(queue.busy for queue in self._queues.values())

    async def wait_idle(self) -> None:
        """Wait until it is idle. The caller limits how long that may take."""
        self._check_open()
        while not self.idle:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle_waiters.add(waiter)
            try:
                await waiter
            finally:
                self._idle_waiters.discard(waiter)
            self._check_open()

    def statistics(self) -> Mapping[str, QueueStatistics]:
        """Return the statistics of each queue, by its name."""
        delayed = Counter(
            queue.name for held in self._delayed.values() for queue in self._route(held.route)
        )
        return {
            name: QueueStatistics(queue.ready, queue.unacked, delayed[name], queue.consumers)
            for name, queue in self._queues.items()
        }

    def _check_open(self) -> None:
        if self._unavailable:
            raise BrokerUnavailable(self._unavailable)

    def _should_yield(self) -> bool:
        # Nothing in here waits, so a publisher in a loop would never yield to other tasks.
        self._sent += 1
        return not self._sent % YIELD_EVERY

    def _get_or_create(self, queue: Queue) -> MemoryQueue:
        declared = self._queues.get(queue.name)
        if declared is None:
            declared = MemoryQueue(queue, self._clock, self._wake_if_idle)
            self._queues[queue.name] = declared
        elif queue.declare and declared.kind != queue.kind:
            raise DeclarationError(
                f"the queue {queue.name!r} cannot be a {queue.kind!r} queue: it is a "
                f"{declared.kind!r} queue already; give one of the two another name"
            )
        return declared

    def _remove(self, queue: MemoryQueue) -> None:
        for exchange in self._exchanges.values():
            exchange.remove(queue)
        del self._queues[queue.name]

    def _route(self, route: Route) -> tuple[MemoryQueue, ...]:
        if route.exchange:
            return self._exchanges[route.exchange].route(route.key)
        queue = self._queues.get(route.key)
        return () if queue is None else (queue,)

    def _find_queues(self, route: Route) -> tuple[MemoryQueue, ...]:
        self._check_open()
        queues = self._route(route)
        if not queues and route.mandatory:
            raise FunctionNotFound(route.name, self._similar(route))
        return queues

    def _similar(self, route: Route) -> str:
        """Return advice for an unknown name: the most similar name that exists."""
        prefix = route.key.removesuffix(route.name)
        names = [name.removeprefix(prefix) for name in self._queues if name.startswith(prefix)]
        similar = get_close_matches(route.name, names, n=1)
        return f"did you mean {similar[0]!r}?" if similar else ""

    def _store_delayed(self, route: Route, message: Message, delay: float) -> None:
        if len(self._delayed) >= self._max_delayed:
            raise Throttled(
                f"{route.name} cannot be sent later: {len(self._delayed):,} messages are delayed"
            )
        number = next(self._numbers)
        timer = self._clock.call_later(delay, partial(self._deliver_delayed, number))
        self._delayed[number] = _Delayed(route, message, timer)

    def _deliver_delayed(self, number: int) -> None:
        held = self._delayed.pop(number)
        # The sender was told that it is stored, so a queue takes it even if it is full by now.
        for queue in self._route(held.route):
            queue.put(held.message)

    def _wake_if_idle(self) -> None:
        if self._idle_waiters and self.idle:
            self._wake_idle_waiters()

    def _wake_idle_waiters(self) -> None:
        for waiter in self._idle_waiters:
            _resolve(waiter, None)


def _check(message: Message) -> Message:
    """Return the message as a broker that carries bytes delivers it. Raises PayloadTooLarge."""
    check_size(message)
    headers = message.headers
    if all(map(str.isascii, headers.values())):
        return message
    return replace(message, headers={name: utf8(text) for name, text in headers.items()})


def _store(queues: Sequence[MemoryQueue], message: Message) -> None:
    for queue in queues:
        if queue.full:
            raise Throttled(f"{queue.name} is full: {queue.ready:,} messages wait in it")
    for queue in queues:
        queue.put(message)


def _resolve(future: asyncio.Future[T], outcome: T) -> None:
    if not future.done():
        future.set_result(outcome)
