"""Mesh-wide slots and leases of the embedded broker."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from eventmesh.model.errors import BrokerUnavailable

CLOSED: Final = (
    "the embedded broker is closed: use it inside the 'async with' block of whoever opened it"
)


class ResizableSemaphore:
    """A number of places, given out in the order in which they were asked for.

    A semaphore whose limit can change. A wait that is cancelled loses no place.
    """

    __slots__ = ("_limit", "_taken", "_waiting", "open")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self.open = True

    def resize(self, limit: int) -> None:
        """There are `limit` from now on. Who has a place beyond it keeps it until given back."""
        self._limit = limit
        self._grant()

    async def acquire(self) -> None:
        """Take a place. Raises BrokerUnavailable once closed."""
        if not self.open:
            raise BrokerUnavailable(CLOSED)
        if self._taken < self._limit:  # With a free place, nobody waits.
            self._taken += 1
            return
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            elif not turn.cancelled() and turn.result():
                self.release()  # It was given at the very moment the wait ended.
            raise
        if not granted:
            raise BrokerUnavailable(CLOSED)

    def release(self) -> None:
        """Give a place back: to the next who waits, if somebody does."""
        self._taken -= 1
        self._grant()

    def close(self) -> None:
        """Give out nothing any more, and let those who wait know."""
        self.open = False
        while self._waiting:
            self._wake_next(granted=False)

    def _grant(self) -> None:
        while self._waiting and self._taken < self._limit:
            self._taken += self._wake_next(granted=True)

    def _wake_next(self, *, granted: bool) -> bool:
        turn = self._waiting.popleft()
        if turn.done():  # The wait was cancelled.
            return False
        turn.set_result(granted)
        return True


class MemorySlots:
    """One holder's view of the places under a name: it gives back only what it took."""

    __slots__ = ("_held", "_places")

    def __init__(self, places: ResizableSemaphore) -> None:
        self._places = places
        self._held = 0

    async def acquire(self) -> None:
        await self._places.acquire()
        self._held += 1

    def release(self) -> None:
        """Does nothing without a place in hand: it may have been taken back meanwhile."""
        if self._held:
            self._held -= 1
            self._places.release()

    def close(self) -> None:
        """Give everything back: the holder is gone."""
        while self._held:
            self.release()


class SharedLease:
    """What all who want one lease have in common."""

    __slots__ = ("name", "place", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.place = ResizableSemaphore(1)
        self.state = b""


class MemoryLease:
    """The lease in the hands of one holder."""

    __slots__ = ("_held", "_shared")

    def __init__(self, shared: SharedLease) -> None:
        self._shared = shared
        self._held = True

    @property
    def state(self) -> bytes:
        return self._shared.state

    async def save(self, state: bytes) -> None:
        if not self._held or not self._shared.place.open:
            raise BrokerUnavailable(
                f"the lease {self._shared.name!r} is lost: what it allowed has to end"
            )
        self._shared.state = state

    def close(self) -> None:
        """Hand it to the next."""
        self._held = False
        self._shared.place.release()
