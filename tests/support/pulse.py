"""Tells a process that stood still from one that waited: a machine may stop it for minutes.

A time limit is for what happens while the process runs. When it goes on, all that was due meanwhile
is due at once, before anything of what came meanwhile has been read.
"""

import asyncio
import sys
import threading
import time
import traceback
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

BEAT = 0.5
STILL = 5.0
"""Seconds by which a beat is late when the event loop counts as having stood still."""

KEPT = 20.0
"""Seconds after which another thread, which ran meanwhile, says where the event loop is."""


@dataclass
class Standstill:
    """The event loop did nothing for some seconds, in which its process had so much processor."""

    seconds: float
    processor: float
    stack: str
    """Where the event loop was, told by another thread; "" if that stood still as well."""

    @property
    def is_our_own(self):
        """Whether the process ran, and its event loop was kept from going on by what it did."""
        return bool(self.stack) or self.processor > self.seconds / 2

    def __str__(self):
        told = self.stack or "all its threads stood still\n"
        return (
            f"the event loop stood still for {self.seconds:.1f} s, "
            f"{self.processor:.1f} s of processor were used: {told}"
        )


@dataclass
class Pulse:
    """Beats in an event loop; what it has found is in `standstills`."""

    standstills: list[Standstill] = field(default_factory=list)
    _limits: set[asyncio.Timeout] = field(default_factory=set)
    _last: float = 0.0
    _used: float = 0.0
    _stack: str = ""
    _handle: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def limit(self, seconds):
        """Raise TimeoutError if the block takes longer, without the time of standstills."""
        async with asyncio.timeout(seconds) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    @contextmanager
    def beating(self):
        """Beat in the running event loop while entered."""
        loop = asyncio.get_running_loop()
        ended = threading.Event()
        beside = threading.Thread(target=self._watch, args=(threading.get_ident(), ended))
        self._last, self._used = time.monotonic(), time.process_time()
        # Not a task: this comes before all other limits that are due by then, which are later.
        self._handle = loop.call_later(BEAT, lambda: self._beat(loop))
        beside.start()
        try:
            yield
        finally:
            self._handle.cancel()
            ended.set()
            beside.join()

    def _beat(self, loop):
        now, used = time.monotonic(), time.process_time()
        late = now - self._last - BEAT
        if late > STILL:
            self.standstills.append(Standstill(late, used - self._used, self._stack))
            for limit in self._limits:
                if not limit.expired():
                    limit.reschedule(limit.when() + late)
        self._last, self._used, self._stack = now, used, ""
        self._handle = loop.call_later(BEAT, lambda: self._beat(loop))

    def _watch(self, thread, ended):
        """Look from beside whether the beats go on; note once where the event loop is if not."""
        awake = before = time.monotonic()
        while not ended.wait(BEAT):
            now = time.monotonic()
            if now - before > STILL:  # Late itself: it says nothing of the event loop yet.
                awake = now
            before = now
            if not self._stack and now - max(self._last, awake) > KEPT:
                frame = sys._current_frames()[thread]  # noqa: SLF001 - there is no other way
                self._stack = "".join(traceback.format_stack(frame))
