"""The one loop of all sources that take messages: take, dispatch, settle.

A pool of workers shares the deliveries of one queue. A worker is a task that lives as long as the
consumer does: an invocation costs no task of its own, and while deliveries wait a worker goes from
one to the next without giving up its turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.tasks import task_group
from eventmesh.aio.waiters import WaitQueue
from eventmesh.engine.spec import Stop
from eventmesh.model.topology import Queue
from eventmesh.model.value import value

T = TypeVar("T")

TURN: Final = 64
"""Deliveries taken in a row before the event loop gets to see to other things."""

MAX_PREFETCH: Final = 2000
"""Deliveries one consumer of batches holds at the most, unless one batch alone is larger."""


@value
class ConsumerSpec:
    """A queue and what is done with its deliveries, `workers` of them at once.

    With `finish`, what has been taken is handled also when the intake stops, not handed back.
    """

    queue: Queue
    handle: Callable[[Delivery], Awaitable[None]]
    workers: int
    finish: bool = False


@value
class BatchConsumerSpec:
    """A queue whose deliveries are handled `batch` at a time.

    A batch that is not full is handled `window` seconds after its first delivery was taken.
    """

    queue: Queue
    handle: Callable[[Sequence[Delivery]], Awaitable[None]]
    workers: int
    batch: int
    window: float
    finish: bool = False


@asynccontextmanager
async def consuming(
    broker: Broker, clock: Clock, consumptions: Sequence[ConsumerSpec | BatchConsumerSpec]
) -> AsyncGenerator[Stop]:
    """Consume all these queues while entered.

    Leaving stops the intake of all of them, hands back what no worker has begun, and waits for
    the workers. If that wait is cancelled, so are the workers, and what they had goes back too.
    Calling what this yields stops the intake before.
    """
    async with AsyncExitStack() as stack:
        # Left in reverse: first all intakes are stopped and closed, then the workers end, and
        # only then the consumers, through which the workers answer.
        intakes: list[DeliveryBuffer] = []
        stops: list[Stop] = []
        for consumption in consumptions:
            intake = DeliveryBuffer()
            subscription = await stack.enter_async_context(
                broker.consume(consumption.queue, intake.put, prefetch=_prefetch(consumption))
            )
            stack.callback(intake.hand_back)
            intakes.append(intake)
            stops.append(subscription.stop)
        tasks = await stack.enter_async_context(task_group())
        taking = await stack.enter_async_context(AsyncExitStack())
        for intake, consumption in zip(intakes, consumptions, strict=True):
            taking.callback(intake.close, finish=consumption.finish)
            _start(tasks, clock, intake, consumption)
        for stop in stops:
            taking.push_async_callback(stop)
        yield taking.aclose


def _prefetch(consumption: ConsumerSpec | BatchConsumerSpec) -> int:
    if isinstance(consumption, ConsumerSpec):
        return consumption.workers
    return max(consumption.batch, min(consumption.batch * consumption.workers, MAX_PREFETCH))


def _start(
    tasks: asyncio.TaskGroup,
    clock: Clock,
    intake: DeliveryBuffer,
    consumption: ConsumerSpec | BatchConsumerSpec,
) -> None:
    if isinstance(consumption, ConsumerSpec):
        Workers(tasks, intake.take, consumption.handle, consumption.workers).start()
    else:
        batches = Batches(intake, clock, consumption.batch, consumption.window)
        Workers(tasks, batches.take, consumption.handle, consumption.workers).start()


class DeliveryBuffer:
    """Deliveries that were taken from the broker and that no worker has yet.

    The broker's prefetch bounds them: what a lost channel left behind is dropped before another is
    added. It is never run, because it is delivered again.

    One idle worker is woken at a time; when it finds more than its own delivery it wakes the next,
    so that a worker that never waits is not disturbed.
    """

    __slots__ = ("_closed", "_deliveries", "_idle", "_taken", "_waking")

    def __init__(self) -> None:
        self._deliveries: deque[Delivery] = deque()
        self._idle = WaitQueue()
        self._waking = False
        self._closed = False
        self._taken = 0

    def put(self, delivery: Delivery) -> None:
        """Called by the broker. Once closed, a late delivery goes back untouched."""
        if self._closed:
            delivery.requeue()
            return
        deliveries = self._deliveries
        # Those of a lost channel are the first: nothing comes by it behind those of another.
        while deliveries and deliveries[0].stale:
            deliveries.popleft()
        deliveries.append(delivery)
        self._wake_one()

    async def take(self) -> Delivery | None:
        """The next delivery; None once closed, when nothing is left."""
        self._taken += 1
        if not self._taken % TURN:
            await asyncio.sleep(0)
        while (delivery := self.take_nowait()) is None:
            if self._closed:
                return None
            await self._wait()
        return delivery

    def take_nowait(self) -> Delivery | None:
        """The next delivery, if there is one now."""
        deliveries = self._deliveries
        while deliveries:
            delivery = deliveries.popleft()
            if not delivery.stale:
                if deliveries:
                    self._wake_one()
                return delivery
        return None

    def close(self, *, finish: bool = False) -> None:
        """Take nothing more in, and let the workers end: with `finish`, after what is here."""
        self._closed = True
        if not finish:
            self.hand_back()
        while self._idle.wake_oldest():
            pass

    def hand_back(self) -> None:
        """Hand back what no worker has taken."""
        while self._deliveries:
            self._deliveries.pop().requeue()

    async def _wait(self) -> None:
        await self._idle.wait(self._wake_another)
        self._waking = False

    def _wake_one(self) -> None:
        # The one that went idle last: the fewer workers take turns, the warmer they are.
        if not self._waking:
            self._waking = self._idle.wake_newest()

    def _wake_another(self) -> None:
        self._waking = False
        self._wake_one()


class Batches:
    """Deliveries of an intake, a batch at a time."""

    __slots__ = ("_clock", "_collecting", "_intake", "_size", "_window")

    def __init__(self, intake: DeliveryBuffer, clock: Clock, size: int, window: float) -> None:
        self._intake = intake
        self._clock = clock
        self._size = size
        self._window = window
        self._collecting = asyncio.Lock()

    async def take(self) -> Sequence[Delivery] | None:
        """The next batch, of at least one delivery; None once the intake is closed."""
        # One worker collects at a time: two would each get half a batch.
        async with self._collecting:
            while (first := await self._intake.take()) is not None:
                batch = [first]
                try:
                    await self._fill(batch)
                except BaseException:
                    for delivery in reversed(batch):
                        delivery.requeue()
                    raise
                # While it was filled a channel may have been lost, and its deliveries with it.
                if batch := [delivery for delivery in batch if not delivery.stale]:
                    return batch
            return None

    async def _fill(self, batch: list[Delivery]) -> None:
        """Add what is there already, and what comes within the window."""
        while len(batch) < self._size and (waiting := self._intake.take_nowait()) is not None:
            batch.append(waiting)
        if len(batch) == self._size or not self._window:
            return
        try:
            with TimeLimit(self._clock, self._window):
                while len(batch) < self._size:
                    delivery = await self._intake.take()
                    if delivery is None:
                        return
                    batch.append(delivery)
        except TimeoutError:
            return  # The window has passed: what there is makes the batch.


class Workers:
    """Tasks that take and handle, as many as are needed at once, up to `limit`.

    They are started as the work comes: a function that is never called costs one.
    """

    __slots__ = ("_handle", "_idle", "_limit", "_size", "_take", "_tasks")

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        take: Callable[[], Awaitable[T | None]],
        handle: Callable[[T], Awaitable[None]],
        limit: int,
    ) -> None:
        self._tasks = tasks
        self._take = take
        self._handle = handle
        self._limit = limit
        self._size = 0
        self._idle = 0

    def start(self) -> None:
        self._size += 1
        self._idle += 1
        self._tasks.create_task(self._work())

    async def _work(self) -> None:
        take, handle = self._take, self._handle
        while (taken := await take()) is not None:
            self._idle -= 1
            if not self._idle and self._size < self._limit:
                self.start()
            await handle(taken)
            self._idle += 1
