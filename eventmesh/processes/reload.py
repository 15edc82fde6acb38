"""Runs a command, and restarts it whenever code changes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from asyncio.subprocess import Process
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from watchfiles import (
    Change,
    PythonFilter,
    awatch,  # pyright: ignore[reportUnknownVariableType] - its part for trio, which is not there
)

from eventmesh.http.server.sockets import bind_socket
from eventmesh.model.errors import EventmeshError
from eventmesh.model.settings import Settings, variable
from eventmesh.processes.dev.folder import DevFolder
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.targets.source_location import shorten_path

Notify: TypeAlias = Callable[[str], object]
"""Shows a line to the user."""

_RELOAD_GRACE: Final = 2.0
"""Seconds that running invocations have to finish before the changed code is started."""

_SIGNALLED: Final = 128
"""Shells add this to the number of the signal that ended a process."""

_MARGIN: Final = 5.0
"""Seconds beyond its grace time that a command has to end."""


class Between(Protocol):
    """What is done from when one process of the command has ended until the next one is started."""

    def note_saved(self, files: Sequence[str], at: float) -> None:
        """Take the files that were saved, before the process that has their code is started."""

    def stand_in(self, code: int) -> AbstractAsyncContextManager[None]:
        """Answer while entered for a process that has ended by itself, with that exit code."""
        ...


def serve_and_reload(
    command: Sequence[str],
    folders: Collection[Path],
    settings: Settings,
    environment: Mapping[str, str],
    notify: Notify,
    *,
    noted: DevFolder,
) -> int:
    """Run a command that serves HTTP as `run_and_reload` does, on a socket that it inherits.

    What is saved is `noted` for it. When it has ended by itself, the console says why in its place.
    Raises SettingsError if the address cannot be used.
    """
    if os.name == "nt":  # No process inherits a socket there, so each listens by itself.
        between = _Noted(noted, settings, None, notify)
        return run_and_reload(
            command, folders, settings.grace, environment, notify, between=between
        )
    with bind_socket(settings) as listener:
        # We listen too: clients that come while the command restarts wait until it is ready.
        listener.listen()
        descriptor = listener.fileno()
        environment = {**environment, variable("http_fd"): str(descriptor)}
        return run_and_reload(
            command,
            folders,
            settings.grace,
            environment,
            notify,
            between=_Noted(noted, settings, descriptor, notify),
            descriptors=[descriptor],
        )


def run_and_reload(
    command: Sequence[str],
    folders: Collection[Path],
    grace: float,
    environment: Mapping[str, str],
    notify: Notify,
    *,
    between: Between,
    descriptors: Collection[int] = (),
) -> int:
    """Run a command, and restart it whenever a Python file in one of the folders changes.

    The command gets the `environment` and inherits the `descriptors`. Told to stop, it has `grace`
    seconds to end. Returns its exit code, also if it ends by itself before the first restart; if it
    ends by itself later, the next change restarts it, and `between` is told what was saved and
    stands in meanwhile.
    """
    start = partial(asyncio.create_subprocess_exec, *command, env=environment, pass_fds=descriptors)
    return asyncio.run(_Reloader(start, grace, notify, between).run(folders))


class _Noted:
    """Notes in a folder what was saved, and has the console say why a process has ended."""

    def __init__(
        self, noted: DevFolder, settings: Settings, descriptor: int | None, notify: Notify
    ) -> None:
        """`descriptor` is the socket to answer at; None where nobody can answer in its place."""
        self._noted = noted
        self._settings = settings
        self._descriptor = descriptor
        self._notify = notify

    def note_saved(self, files: Sequence[str], at: float) -> None:
        self._noted.take_failure()  # It was of other code.
        self._noted.note_saved(files, at)

    @asynccontextmanager
    async def stand_in(self, code: int) -> AsyncGenerator[None]:
        if self._descriptor is None:
            yield
            return
        # A process that only restarts another one does without a server.
        from eventmesh.processes.dev.stand_in import stand_in  # noqa: PLC0415

        async with AsyncExitStack() as stack:
            settings = replace(self._settings, http_fd=self._descriptor)
            try:
                await stack.enter_async_context(stand_in(self._noted, settings, code))
            except EventmeshError as error:
                self._notify(f"Nothing answers meanwhile: {error}")
            yield


class _Reloader:
    """The processes of the command, one after the other."""

    def __init__(
        self,
        start: Callable[[], Awaitable[Process]],
        grace: float,
        notify: Notify,
        between: Between,
    ) -> None:
        self._new_process = start
        self._grace = grace
        self._notify = notify
        self._between = between
        self._stop = asyncio.Event()
        self._process: Process | None = None

    async def run(self, folders: Collection[Path]) -> int:
        with on_stop_signals(self._on_signal):
            async with asyncio.TaskGroup() as tasks:
                watching = awatch(*folders, watch_filter=PythonFilter(), stop_event=self._stop)
                upcoming = tasks.create_task(_next(watching))
                # It watches from its first step on, and so before the code is read for the first
                # time: what is saved from then on is no part of the first process.
                await asyncio.sleep(0)
                process = await self._start()
                ended = tasks.create_task(self._stop_with(process))
                while changes := await upcoming:
                    upcoming = tasks.create_task(_next(watching))
                    files, saved = _names(changes), time.time()
                    self._notify(f"{', '.join(files)} changed: starting again")
                    await _cancel(ended)
                    await _end(process, _RELOAD_GRACE)
                    self._between.note_saved(files, saved)
                    process = await self._start()
                    ended = tasks.create_task(self._report_end(process))
                await _cancel(ended)
                code = await _end(process, self._grace + _MARGIN)
        if code == -signal.SIGTERM:
            return ExitCode.OK  # Ours: it did not handle signals yet, or no more.
        return code if code >= 0 else _SIGNALLED - code

    async def _start(self) -> Process:
        # In our own process group, so that a debugger in it can read from the terminal.
        self._process = await self._new_process()
        return self._process

    async def _stop_with(self, process: Process) -> None:
        await process.wait()
        self._stop.set()

    def _on_signal(self, number: signal.Signals) -> None:
        """Stop; at a second Ctrl-C, without waiting."""
        if self._stop.is_set() and number == signal.SIGINT:
            if self._process is not None:
                with suppress(ProcessLookupError):
                    self._process.kill()
            os._exit(ExitCode.INTERRUPTED)
        self._stop.set()

    async def _report_end(self, process: Process) -> None:
        code = await process.wait()
        async with self._between.stand_in(code):
            self._notify("It has ended: the next change starts it again.")
            await asyncio.get_running_loop().create_future()


async def _next(watching: AsyncGenerator[set[tuple[Change, str]]]) -> set[tuple[Change, str]]:
    """Return the next changes; none when it is told to stop."""
    return await anext(watching, set[tuple[Change, str]]())


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended; in bounded time."""
    task.cancel()
    _, pending = await asyncio.wait([task], timeout=_RELOAD_GRACE)
    if pending:
        task.cancel()  # Who stands in waits for what it answers, unless it is told twice.
        await asyncio.wait([task])


async def _end(process: Process, grace: float) -> int:
    """End a process and return its code; kill it if it takes longer than `grace` seconds."""
    with suppress(ProcessLookupError):  # It has ended by itself.
        process.terminate()
    try:
        async with asyncio.timeout(grace):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()


def _names(changes: Iterable[tuple[Change, str]]) -> Sequence[str]:
    return sorted(shorten_path(file) for _, file in changes)
