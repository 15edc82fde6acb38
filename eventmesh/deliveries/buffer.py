"""Holds deliveries between the broker, which hands them over, and the workers, which take them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.aio.waiters import WaitQueue

YIELD_EVERY: Final = 64
"""Deliveries that are taken before the event loop gets to run other tasks."""


class DeliveryBuffer:
    """Deliveries that the broker has handed over and that no worker has taken yet.

    The broker's prefetch bounds them: stale deliveries, which a lost channel left behind, are
    dropped before another one is added. They are never run, because the broker delivers them again.

    One idle worker is woken at a time; if it finds more than its own delivery it wakes the next, so
    that a worker that never waits is not disturbed.
    """

    __slots__ = ("_closed", "_deliveries", "_hand_back", "_idle", "_taken", "_waking")

    def __init__(self, hand_back: Callable[[Delivery], object]) -> None:
        """`hand_back` gets the deliveries that no worker takes any more, in their order."""
        self._hand_back = hand_back
        self._deliveries: deque[Delivery] = deque()
        self._idle = WaitQueue()
        # Whether a worker was woken that has not run yet.
        self._waking = False
        self._closed = False
        self._taken = 0

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def taken(self) -> int:
        """How often a worker took a delivery, or came to wait for one."""
        return self._taken

    def put(self, delivery: Delivery) -> None:
        """Add a delivery; the broker calls this. Once closed, a late delivery is requeued."""
        if self._closed:
            delivery.requeue()
            return
        deliveries = self._deliveries
        # Stale ones are at the front: no delivery of a lost channel comes after one of a new one.
        while deliveries and deliveries[0].stale:
            deliveries.popleft()
        deliveries.append(delivery)
        self._wake_one()

    async def take(self) -> Delivery | None:
        """Wait for the next delivery; None once closed and empty."""
        self._taken += 1
        if not self._taken % YIELD_EVERY:
            await asyncio.sleep(0)
        while (delivery := self.take_nowait()) is None:
            if self._closed:
                return None
            await self._idle.wait(self._wake_another)
            self._waking = False
        return delivery

    def take_nowait(self) -> Delivery | None:
        """Return the next delivery, or None if there is none now."""
        deliveries = self._deliveries
        while deliveries:
            delivery = deliveries.popleft()
            if not delivery.stale:
                if deliveries:
                    self._wake_one()
                return delivery
        return None

    def close(self, *, finish: bool = False) -> None:
        """Add nothing more, and let the workers end: with `finish`, after what is here."""
        self._closed = True
        if not finish:
            self.hand_back_all()
        while self._idle.wake_oldest():
            pass

    def hand_back_all(self) -> None:
        """Give up what no worker has taken."""
        while self._deliveries:
            self._hand_back(self._deliveries.popleft())

    def _wake_one(self) -> None:
        # The one that went idle last: the fewer workers take turns, the warmer they are.
        if not self._waking:
            self._waking = self._idle.wake_newest()

    def _wake_another(self) -> None:
        self._waking = False
        self._wake_one()


class Batcher:
    """Takes deliveries from a buffer, a batch at a time."""

    __slots__ = ("_buffer", "_clock", "_collecting", "_hand_back", "_size", "_window")

    def __init__(
        self,
        buffer: DeliveryBuffer,
        clock: Clock,
        size: int,
        window: float,
        hand_back: Callable[[Delivery], object],
    ) -> None:
        """`hand_back` gets the deliveries of a batch whose collection is cancelled."""
        self._hand_back = hand_back
        self._buffer = buffer
        self._clock = clock
        self._size = size
        self._window = window
        self._collecting = asyncio.Lock()

    async def take(self) -> Sequence[Delivery] | None:
        """Wait for the next batch, of at least one delivery; None once the buffer is closed."""
        # One worker collects at a time: two would each get half a batch.
        async with self._collecting:
            while (first := await self._buffer.take()) is not None:
                batch = [first]
                try:
                    await self._fill(batch)
                except BaseException:
                    for delivery in batch:
                        self._hand_back(delivery)
                    raise
                # A channel may have been lost meanwhile, and its deliveries with it.
                if batch := [delivery for delivery in batch if not delivery.stale]:
                    return batch
            return None

    async def _fill(self, batch: list[Delivery]) -> None:
        """Add the deliveries that wait already, and those that come within the window."""
        while len(batch) < self._size and (waiting := self._buffer.take_nowait()) is not None:
            batch.append(waiting)
        if len(batch) == self._size or not self._window:
            return
        try:
            with TimeLimit(self._clock, self._window):
                while len(batch) < self._size:
                    delivery = await self._buffer.take()
                    if delivery is None:
                        return
                    batch.append(delivery)
        except TimeoutError:
            return  # The window has passed: the batch is what has come.
