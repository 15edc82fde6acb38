"""Being told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def told_to_stop(tell: Callable[[signal.Signals], object]) -> Generator[None]:
    """Call `tell` in the running event loop for each SIGINT and SIGTERM, while entered."""
    loop = asyncio.get_running_loop()

    # Not by loop.add_signal_handler, which Windows' event loop has not.
    def handle(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell, signal.Signals(number))

    former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
