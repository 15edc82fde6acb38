"""The runs of a mesh under test, and whether a test must wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final

from eventmesh.abc import Handler
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result


class _ObservedRun:
    """One run of a handler. It is idle while it waits for another run or for the clock."""

    __slots__ = ("invocation", "waits")

    def __init__(self, invocation: Invocation) -> None:
        self.invocation = invocation
        self.waits: list[str] = []

    def __str__(self) -> str:
        name = f"{self.invocation.function} (attempt {self.invocation.attempt})"
        return f"{name} waits for {' and '.join(self.waits)}" if self.waits else f"{name} runs"


_current: Final[ContextVar[_ObservedRun | None]] = ContextVar("eventmesh_testing_run", default=None)


class Activity:
    """The runs of one mesh.

    A run is busy unless it waits for another function's result or for the clock: another run or
    the test ends that wait.
    """

    def __init__(self) -> None:
        self._runs: dict[_ObservedRun, None] = {}  # A set that keeps the order, for messages.
        self._busy = 0
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def running(self) -> bool:
        """Whether any handler runs, busy or not."""
        return bool(self._runs)

    @property
    def quiet(self) -> bool:
        """Whether no run is busy."""
        return not self._busy

    async def wait_quiet(self) -> None:
        await self._quiet.wait()

    def observe(self, handler: Handler) -> Handler:
        """Wrap a handler, as a middleware, to count every run."""

        async def run(invocation: Invocation) -> Result:
            current = _ObservedRun(invocation)
            self._runs[current] = None
            self._count(+1)
            token = _current.set(current)
            try:
                return await handler(invocation)
            finally:
                _current.reset(token)
                del self._runs[current]
                if not current.waits:
                    self._count(-1)

        return run

    @contextmanager
    def mark_waiting(self, what: str) -> Generator[None]:
        """Mark the current run, if there is one, as waiting for `what` while entered."""
        current = _current.get()
        if current is None or current not in self._runs:
            # The test, a task that a run left behind, or a run of another mesh.
            yield
            return
        if not current.waits:
            self._count(-1)
        current.waits.append(what)
        try:
            yield
        finally:
            current.waits.remove(what)
            if not current.waits and current in self._runs:
                self._count(+1)

    @asynccontextmanager
    async def limit_time(self, limit: float, what: str) -> AsyncGenerator[None]:
        """Raise TimeoutError, with the runs that go on, if the body takes `limit` real seconds."""
        timeout = asyncio.timeout(limit)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise TimeoutError(
                f"{what} within {limit:g} s of real time: {self._describe()}"
            ) from None

    def _describe(self) -> str:
        if not self._runs:
            return "no handler runs"
        return "; ".join(str(run) for run in self._runs)

    def _count(self, change: int) -> None:
        self._busy += change
        if self._busy:
            self._quiet.clear()
        else:
            self._quiet.set()
