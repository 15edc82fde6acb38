"""How processes call, and how they tell of what they were told and what they handled."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

MARK: Final = "cluster:"
"""Begins the lines that are for the harness; frameworks print others."""

PAUSE: Final = 0.2
"""Seconds between two calls of a kind: a load is so many calls, whatever the machine could do."""

HUNG: Final = 30.0
DELAY: Final = 1.0


class FirstAttemptFails(Exception):
    """What handlers of the kind `retried` raise at first."""


def tell(what: str, kind: str, number: int, more: str = "") -> None:
    """Write a line in one write, which a kill cannot cut."""
    os.write(1, f"{MARK}{what} {kind} {number} {more}\n".encode())


def handled(kind: str, number: int) -> None:
    """Tell that a worker has handled a call."""
    tell("handled", kind, number)


def numbers() -> itertools.count[int]:
    """Numbers that no process before has used: a client that is started again goes on."""
    return itertools.count(time.time_ns() // 1_000_000)


async def call_all(calls: Mapping[str, Callable[[int], Awaitable[object]]]) -> None:
    """Call each kind again and again, until the process is killed."""

    async def repeat(kind: str, call: Callable[[int], Awaitable[object]]) -> None:
        for number in numbers():
            try:
                async with asyncio.timeout(HUNG):
                    await call(number)
            except Exception as error:  # noqa: BLE001 - whatever a library raises is a refusal
                tell("refused", kind, number, type(error).__name__)
            else:
                tell("confirmed", kind, number)
            await asyncio.sleep(PAUSE)

    async with asyncio.TaskGroup() as tasks:
        for kind, call in calls.items():
            tasks.create_task(repeat(kind, call))


def call_all_in_threads(calls: Mapping[str, Callable[[int], object]]) -> None:
    """The same, for a library that blocks."""

    def repeat(kind: str, call: Callable[[int], object]) -> None:
        for number in numbers():
            try:
                call(number)
            except Exception as error:  # noqa: BLE001 - whatever a library raises is a refusal
                tell("refused", kind, number, type(error).__name__)
            else:
                tell("confirmed", kind, number)
            time.sleep(PAUSE)

    threads = [threading.Thread(target=repeat, args=call) for call in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
