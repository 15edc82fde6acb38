"""Running a command, and again whenever code changes."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import click
from watchfiles import (
    Change,
    PythonFilter,
    awatch,  # pyright: ignore[reportUnknownVariableType] - its part for trio, which is not there
)

from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.targets.source_location import shorten_path

_RELOAD_GRACE: Final = 2.0
"""Seconds that what runs has to finish before the changed code is started."""

_SIGNALLED: Final = 128
"""What shells add to the number of the signal that ended a process."""

_MARGIN: Final = 5.0
"""Seconds more than its grace time that a command may take to end."""


def run_and_reload(
    command: Sequence[str],
    folders: Collection[Path],
    grace: float,
    environment: Mapping[str, str],
    descriptors: Collection[int] = (),
) -> int:
    """Run a command, and again whenever a Python file in one of the folders changes.

    It gets the `environment` and inherits the `descriptors`. Told to stop, it has `grace` seconds
    to end. Returns its exit code, also when it ends by itself before it was ever started again;
    after that, one that ends waits for the next change.
    """
    start = partial(asyncio.create_subprocess_exec, *command, env=environment, pass_fds=descriptors)
    return asyncio.run(_Reloader(start, grace).run(folders))


class _Reloader:
    """The command's process, one after the other."""

    def __init__(self, start: Callable[[], Awaitable[Process]], grace: float) -> None:
        self._new_process = start
        self._grace = grace
        self._stop = asyncio.Event()
        self._process: Process | None = None

    async def run(self, folders: Collection[Path]) -> int:
        with on_stop_signals(self._on_signal):
            async with asyncio.TaskGroup() as tasks:
                process = await self._start()
                ended = tasks.create_task(self._stop_with(process))
                async for changes in awatch(
                    *folders, watch_filter=PythonFilter(), stop_event=self._stop
                ):
                    ended.cancel()
                    click.echo(f"{_names(changes)} changed: starting again")
                    await _end(process, _RELOAD_GRACE)
                    process = await self._start()
                    ended = tasks.create_task(_report_end(process))
                ended.cancel()
                code = await _end(process, self._grace + _MARGIN)
        if code == -signal.SIGTERM:
            return ExitCode.OK  # Ours: it had not begun to listen for signals, or did no more.
        return code if code >= 0 else _SIGNALLED - code

    async def _start(self) -> Process:
        # In our own process group, so that a debugger in it can read from the terminal.
        self._process = await self._new_process()
        return self._process

    async def _stop_with(self, process: Process) -> None:
        await process.wait()
        self._stop.set()

    def _on_signal(self, number: signal.Signals) -> None:
        """Stop; a second Ctrl-C waits for nothing."""
        if self._stop.is_set() and number == signal.SIGINT:
            if self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            os._exit(ExitCode.INTERRUPTED)
        self._stop.set()


async def _report_end(process: Process) -> None:
    await process.wait()
    click.echo("It has ended: the next change starts it again.")


async def _end(process: Process, grace: float) -> int:
    """End a process, by force if it takes longer than `grace` seconds, and return its code."""
    with suppress(ProcessLookupError):  # It has ended by itself.
        process.terminate()
    try:
        async with asyncio.timeout(grace):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _names(changes: Iterable[tuple[Change, str]]) -> str:
    return ", ".join(sorted(shorten_path(file) for _, file in changes))
