"""A worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import orjson

from eventmesh.aio.tasks import task_group
from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)


@value
class WorkerSpec:
    """How to start a worker, and how many seconds it has to end when it is told to.

    `arguments` follow the worker's number and the descriptor of its channel to us in the command
    `_worker`. `descriptors` are open in the worker under the same numbers as here.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int]
    end_seconds: float


class WorkerProcess:
    """A process and the `addresses` that it has reported, by name."""

    def __init__(
        self, number: int, process: Process, reports: asyncio.StreamReader, end_seconds: float
    ) -> None:
        self.addresses: Mapping[str, str] = {}
        self._number = number
        self._process = process
        self._reports = reports
        self._end_seconds = end_seconds
        self._kill_timer: asyncio.TimerHandle | None = None
        self.was_overdue = False
        """Whether it was killed, because it did not end in time."""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stages(self) -> AsyncIterator[str]:
        """Yield each stage that the worker reports until it ends; see `Report`."""
        async for line in self._reports:
            report: dict[str, Any] = orjson.loads(line)
            # One that drains keeps its admin listener to the end.
            self.addresses = report["addresses"] or self.addresses
            yield report["stage"]

    async def wait(self) -> int:
        """Wait until it ends; return its exit code, or the negated number of a signal."""
        try:
            return await self._process.wait()
        finally:
            if self._kill_timer is not None:
                self._kill_timer.cancel()

    def end(self) -> None:
        """Tell it to end, and kill it if it takes longer than `end_seconds`."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        if self._kill_timer is None:
            loop = asyncio.get_running_loop()
            self._kill_timer = loop.call_later(self._end_seconds, self._kill_overdue)

    def kill(self) -> None:
        """Kill it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def _kill_overdue(self) -> None:
        _log.error(
            "worker %d (process %d) did not end within %g s and is killed",
            self._number,
            self.pid,
            self._end_seconds,
        )
        self.was_overdue = True
        self.kill()


@asynccontextmanager
async def spawn_worker(
    number: int, spec: WorkerSpec, restarts: int = 0
) -> AsyncGenerator[WorkerProcess]:
    """Start a worker process, and kill it on leaving if it still runs.

    `restarts` says how often the worker of this number died before.
    Raises OSError if it cannot be started.
    """
    ours, its = socket.socketpair()
    try:
        with its:
            process = await asyncio.create_subprocess_exec(
                # -P: the current folder is searched only for targets that are modules.
                *(sys.executable, "-P", "-m", "eventmesh", "_worker"),
                *("--restarts", str(restarts)),
                *(str(number), str(its.fileno()), *spec.arguments),
                env=spec.environment,
                stdin=DEVNULL,
                pass_fds=(*spec.descriptors, its.fileno()),
                # Ctrl-C reaches the supervisor alone, which then tells the workers.
                process_group=0,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
    except BaseException:
        ours.close()
        raise
    try:
        async with task_group() as tasks:
            tasks.create_task(_close_after(process, writer))
            try:
                yield WorkerProcess(number, process, reader, spec.end_seconds)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        writer.close()


async def _close_after(process: Process, writer: asyncio.StreamWriter) -> None:
    """Close our end once the process has ended: its forked children may keep the other end open."""
    await process.wait()
    writer.close()
