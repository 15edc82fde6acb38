"""Being told something by signals."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from types import FrameType
from typing import Final

STOP: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def on_stop_signals(
    tell: Callable[[signal.Signals], object], signals: Sequence[signal.Signals] = STOP
) -> Generator[None]:
    """Call `tell` in the running event loop for each of these signals, while entered."""
    loop = asyncio.get_running_loop()
    # A signal comes in the middle of anything: the context variables of that are not ours.
    context = copy_context()

    # Not by loop.add_signal_handler, which Windows' event loop has not.
    def handle(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(tell, signal.Signals(number), context=context)

    former = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
