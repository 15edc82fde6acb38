"""Signals as calls in the event loop."""

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
    callback: Callable[[signal.Signals], object], signals: Sequence[signal.Signals] = STOP
) -> Generator[None]:
    """Call `callback` in the running event loop for each of these signals, while entered."""
    loop = asyncio.get_running_loop()
    # A signal interrupts any task: the context variables of that task are not ours.
    context = copy_context()

    # Not by loop.add_signal_handler: Windows' event loop does not have it.
    def handle(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(callback, signal.Signals(number), context=context)

    former = {number: signal.signal(number, handle) for number in signals}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
