"""Keeps a call from running twice when its client repeats it because it got no response.

botocore sends an Invoke again when its read times out or the connection breaks, each time with the
same `amz-sdk-invocation-id`.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from eventmesh.aio.clock import Clock
from eventmesh.model.errors import Throttled

MAX_RUNNING: Final = 10_000
"""The most calls at once. A call runs on when its client is gone, so a client cannot bound them."""

MAX_KEPT: Final = 1000
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
KEPT_SECONDS: Final = 60.0
"""How many outcomes are kept, with how many bytes in all, and for how long: botocore waits at most
20 seconds between two attempts."""

Key: TypeAlias = tuple[str, ...]


class Outcome(Protocol):
    """The outcome of a call."""

    @property
    def repeatable(self) -> bool:
        """Whether nothing was run, so that the next attempt may run it."""
        ...

    @property
    def size(self) -> int:
        """Its size in bytes."""
        ...


OutcomeT = TypeVar("OutcomeT", bound=Outcome)


class IdempotencyCache(Generic[OutcomeT]):
    """Outcomes by the key that all attempts of one call share.

    A call goes on when its client leaves: the next attempt joins it, or gets the kept outcome.
    """

    def __init__(self, tasks: asyncio.TaskGroup, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self._running: dict[Key, asyncio.Task[OutcomeT]] = {}
        self._kept: OrderedDict[Key, tuple[float, OutcomeT]] = OrderedDict()
        self._bytes = 0

    async def run_once(
        self, key: Key, run: Callable[[], Coroutine[Any, Any, OutcomeT]]
    ) -> OutcomeT:
        """Get the outcome of the call with that key: `run` is called unless it was already.

        Raises Throttled if too many calls run.
        """
        self._forget_old()
        if key in self._kept:
            return self._kept[key][1]
        task = self._running.get(key)
        if task is None:
            if len(self._running) >= MAX_RUNNING:
                raise Throttled(f"{MAX_RUNNING:,} calls run at once")
            task = self._running[key] = self._tasks.create_task(run())
            task.add_done_callback(partial(self._ended, key))
        return await asyncio.shield(task)

    def _ended(self, key: Key, task: asyncio.Task[OutcomeT]) -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        outcome = task.result()
        if outcome.repeatable or outcome.size > MAX_KEPT_BYTES:
            return
        self._kept[key] = (self._clock.now() + KEPT_SECONDS, outcome)
        self._bytes += outcome.size
        while len(self._kept) > MAX_KEPT or self._bytes > MAX_KEPT_BYTES:
            self._forget_first()

    def _forget_old(self) -> None:
        now = self._clock.now()
        while self._kept and next(iter(self._kept.values()))[0] <= now:
            self._forget_first()

    def _forget_first(self) -> None:
        _, (_, outcome) = self._kept.popitem(last=False)
        self._bytes -= outcome.size
