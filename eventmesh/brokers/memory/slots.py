"""Mesh-wide slots and leases of the embedded broker."""

from __future__ import annotations

from typing import Final

from eventmesh.aio.waiters import WaitQueue
from eventmesh.model.errors import BrokerUnavailable

CLOSED: Final = (
    "the embedded broker is closed: use it inside the 'async with' block of whoever opened it"
)


class ResizableSemaphore:
    """Permits, given out in the order in which they were asked for, whose number can change.

    A wait that is cancelled loses no permit.
    """

    __slots__ = ("_limit", "_taken", "_waiting", "open")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._waiting = WaitQueue()
        self.open = True

    def resize(self, limit: int) -> None:
        """Set the number of permits. A holder beyond the new limit keeps its permit."""
        self._limit = limit
        self._grant()

    async def acquire(self) -> None:
        """Take a permit, waiting for one. Raises BrokerUnavailable once closed."""
        if not self.open:
            raise _closed()
        if self._taken < self._limit:  # While a permit is free, none waits.
            self._taken += 1
            return
        await self._waiting.wait(self.release)

    def release(self) -> None:
        """Return a permit: it goes to the next task that waits, if one does."""
        self._taken -= 1
        self._grant()

    def close(self) -> None:
        """Give out no more permits, and raise BrokerUnavailable in the tasks that wait."""
        self.open = False
        self._waiting.fail_all(_closed)

    def _grant(self) -> None:
        while self._taken < self._limit and self._waiting.wake_oldest():
            self._taken += 1


def _closed() -> BrokerUnavailable:
    return BrokerUnavailable(CLOSED)


class MemorySlots:
    """The slots under a name, as one holder sees them: it returns only what it took."""

    __slots__ = ("_held", "_permits")

    def __init__(self, permits: ResizableSemaphore) -> None:
        self._permits = permits
        self._held = 0

    async def acquire(self) -> None:
        await self._permits.acquire()
        self._held += 1

    def release(self) -> None:
        """Return a slot. Does nothing without one in hand: it may have been lost meanwhile."""
        if self._held:
            self._held -= 1
            self._permits.release()

    def close(self) -> None:
        """Return all slots: the holder is gone."""
        while self._held:
            self.release()


class SharedLease:
    """A lease and its state, which all that want it share."""

    __slots__ = ("name", "permit", "state")

    def __init__(self, name: str) -> None:
        self.name = name
        self.permit = ResizableSemaphore(1)
        self.state = b""


class MemoryLease:
    """A lease, as its holder sees it."""

    __slots__ = ("_held", "_shared")

    def __init__(self, shared: SharedLease) -> None:
        self._shared = shared
        self._held = True

    @property
    def state(self) -> bytes:
        return self._shared.state

    async def save(self, state: bytes) -> None:
        if not self._held or not self._shared.permit.open:
            raise BrokerUnavailable(
                f"the lease {self._shared.name!r} is lost: stop the work that needs it"
            )
        self._shared.state = state

    def close(self) -> None:
        """Pass the lease to the next that waits."""
        self._held = False
        self._shared.permit.release()
