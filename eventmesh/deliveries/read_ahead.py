"""Has a consumer take more deliveries than may run at once, while runs are short.

With a prefetch of `concurrency` the next message comes only when an acknowledgement has reached the
broker: a worker whose runs are short waits longer than it runs. No other replica can run what is
taken ahead. So it is only as much as is begun at once, and it goes back when that turns out wrong.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from eventmesh.abc import Delivery, Subscription
from eventmesh.aio.clock import Clock, sleep
from eventmesh.deliveries.buffer import DeliveryBuffer
from eventmesh.deliveries.hand_back import HandBack

MAX_PREFETCH: Final = 100
"""Deliveries that a consumer holds at most when it takes some ahead: more gain nothing."""

AHEAD_SECONDS: Final = 0.02
"""As much is taken ahead as one worker alone would begin in this time."""

PATIENCE_SECONDS: Final = 0.05
"""If a delivery was not begun in this time, or in twice as much, all that were not go back."""

MAX_WORKERS: Final = MAX_PREFETCH // 2
"""With more, what they hold at once is enough."""

IDLE_LOOKS: Final = 20
"""Looks, one each PATIENCE_SECONDS, without a delivery after which nothing is taken ahead."""

PAUSE_SECONDS: Final = 1.0
"""For so long nothing is taken ahead after some had to go back."""

SAMPLES: Final = 16
"""The mean duration of a run is over about so many, and so many must have found no free worker."""

_log: Final = logging.getLogger(__name__)


class ReadAhead:
    """Takes deliveries ahead for the workers of one consumer.

    Not for `concurrency=1`, whose deliveries keep their order: what goes back to a quorum queue
    while another one runs comes before that one, should it go back as well.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_due",
        "_full",
        "_hand_back",
        "_handle",
        "_mean",
        "_name",
        "_prefetch",
        "_running",
        "_workers",
    )

    def __init__(
        self,
        clock: Clock,
        buffer: DeliveryBuffer,
        handle: Callable[[Delivery], Awaitable[None]],
        workers: int,
        hand_back: HandBack,
        *,
        name: str,
    ) -> None:
        """`name` is that of the queue, for the log."""
        self._name = name
        self._clock = clock
        self._buffer = buffer
        self._handle = handle
        self._workers = workers
        self._hand_back = hand_back
        self._prefetch = workers
        self._due = asyncio.Event()
        self._running = 0
        # How often a run began while as many were held as the prefetch allows.
        self._full = 0
        # Long, until runs have shown that they are short.
        self._mean = PATIENCE_SECONDS

    async def handle(self, delivery: Delivery) -> None:
        """Handle a delivery, and note for how long."""
        self._running += 1
        if self._running + len(self._buffer) >= self._prefetch:
            self._note_full()
        began = self._clock.monotonic()
        try:
            await self._handle(delivery)
        finally:
            self._running -= 1
            self._mean += (self._clock.monotonic() - began - self._mean) / SAMPLES

    async def run(self, subscription: Subscription) -> None:
        """Change the prefetch of this subscription as runs get shorter and longer."""
        while True:
            await self._due.wait()
            in_time = await self._take_ahead(subscription)
            await self._resize(subscription, self._workers)
            if not in_time:
                _log.debug(
                    "%s: runs have become long, so the %d messages that were taken ahead go back",
                    self._name,
                    len(self._buffer),
                )
                self._buffer.hand_back_all()
                await self._hand_back.flush()
                await sleep(self._clock, PAUSE_SECONDS)
            self._full = 0
            self._due.clear()

    async def _take_ahead(self, subscription: Subscription) -> bool:
        """Take ahead until nothing comes any more; False if something was not begun in time."""
        idle = 0
        while idle < IDLE_LOOKS:
            if self._due.is_set():
                self._due.clear()
                await self._resize(subscription, self._find_affordable())
            taken, waiting = self._buffer.taken, len(self._buffer)
            await sleep(self._clock, PATIENCE_SECONDS)
            begun = self._buffer.taken - taken
            if begun < waiting:
                return False
            idle = 0 if begun else idle + 1
        return True

    async def _resize(self, subscription: Subscription, prefetch: int) -> None:
        self._prefetch = prefetch
        await subscription.resize(prefetch)

    def _note_full(self) -> None:
        self._full += 1
        if self._full == SAMPLES:
            self._full = 0
            # Less would gain little, and each change costs a few round trips.
            if self._find_affordable() >= 2 * self._prefetch:
                self._due.set()

    def _find_affordable(self) -> int:
        """Return the prefetch with which all that is taken ahead is begun in AHEAD_SECONDS."""
        most = MAX_PREFETCH - self._workers
        if most * self._mean <= AHEAD_SECONDS:
            return MAX_PREFETCH
        return self._workers + int(AHEAD_SECONDS / self._mean)
