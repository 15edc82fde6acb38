"""Keeps the state of a mesh up to date while somebody watches, and tells all what has changed.

With a history, runs are asked for also while nobody does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson

from eventmesh.aio.clock import Clock, sleep
from eventmesh.aio.tasks import background_task
from eventmesh.console.state.mesh_state import MeshState, State
from eventmesh.model.errors import Problem

INTERVAL: Final = 1.0
"""Seconds between two looks."""

MAX_WATCHERS: Final = 20

MAX_BEHIND: Final = 5
"""Events that a watcher may be behind; then it gets a new snapshot."""

_NOTHING: Final = b":\n\n"
"""A comment: it shows that the connection lives (WHATWG HTML, section 9.2.6)."""


class Watched:
    """The state of a mesh, and those who watch it."""

    def __init__(self, state: MeshState, clock: Clock) -> None:
        self._mesh = state
        self._clock = clock
        self._state: State = {}
        self._taken = -INTERVAL
        self._watchers: set[asyncio.Queue[bytes | None]] = set()
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._closed = False

    async def read(self) -> State:
        """Return the state, at most `INTERVAL` seconds old."""
        async with self._turn:
            if self._clock.monotonic() - self._taken >= INTERVAL:
                self._tell(await self._mesh.refresh())
            return self._state

    async def watch(self) -> AsyncGenerator[bytes]:
        """Return the events of a new watcher: a snapshot, then differences.

        Raises Problem 429 if too many watch.
        """
        if len(self._watchers) >= MAX_WATCHERS:
            raise Problem(429, f"{MAX_WATCHERS} others watch already: close one of their pages")
        await self.read()
        return self._events()

    async def _events(self) -> AsyncGenerator[bytes]:
        if self._closed:
            return
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_BEHIND)
        self._watchers.add(queue)
        self._wanted.set()
        try:
            yield self._snapshot()
            while (event := await queue.get()) is not None:
                yield event or self._snapshot()
        finally:
            self._watchers.discard(queue)

    async def run(self) -> None:
        """Look each `INTERVAL` seconds while somebody watches, until cancelled.

        While nobody does, only what a history keeps is looked for.
        """
        while True:
            if not self._watchers and not self._mesh.collects:
                self._wanted.clear()
                await self._wanted.wait()
            await sleep(self._clock, INTERVAL)
            if self._watchers:
                await self.read()
            elif self._mesh.collects:
                await self._mesh.collect()

    def close(self) -> None:
        """End all streams: the process stops."""
        self._closed = True
        for queue in self._watchers:
            while not queue.empty():
                queue.get_nowait()
            queue.put_nowait(None)

    def _tell(self, state: State) -> None:
        changes = find_changes(self._state, state)
        self._state, self._taken = state, self._clock.monotonic()
        event = _NOTHING
        if changes and self._watchers:
            event = _encode("diff", {"now": self._clock.now(), **changes})
        for queue in self._watchers:
            if queue.full():
                while not queue.empty():
                    queue.get_nowait()
                event_for = b""  # Whoever reads slowly gets a snapshot next.
            else:
                event_for = event
            queue.put_nowait(event_for)

    def _snapshot(self) -> bytes:
        return _encode("snapshot", {"now": self._clock.now(), **self._state})


def find_changes(before: State, after: State) -> State:
    """Return what has changed, by collection: None stands for what is gone."""
    changes: State = {}
    for name, collection in after.items():
        known = before.get(name, {})
        changed: dict[str, Any] = {
            key: value for key, value in collection.items() if known.get(key) != value
        }
        changed |= dict.fromkeys(known.keys() - collection.keys())
        if changed:
            changes[name] = changed
    return changes


def _encode(kind: str, content: dict[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(content))


@asynccontextmanager
async def watched(state: MeshState, clock: Clock) -> AsyncGenerator[Watched]:
    """Keep the state up to date while entered."""
    keeper = Watched(state, clock)
    async with background_task(keeper.run()):
        try:
            yield keeper
        finally:
            keeper.close()
