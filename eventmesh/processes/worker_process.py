"""One worker process, as its supervisor sees it."""

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
    """How workers are started, and how many seconds one gets to end when it is told to.

    `arguments` are those of the command `_worker` after the worker's number and the descriptor of
    its socket to us. `descriptors` are open in it under the same numbers as here.
    """

    arguments: Sequence[str]
    environment: Mapping[str, str]
    descriptors: Sequence[int]
    end_seconds: float


class WorkerProcess:
    """A process, and what it tells of itself: the `addresses`, by name, that it has by now."""

    def __init__(
        self, number: int, process: Process, told: asyncio.StreamReader, end_seconds: float
    ) -> None:
        self.addresses: Mapping[str, str] = {}
        self._number = number
        self._process = process
        self._told = told
        self._end_seconds = end_seconds
        self._killing: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def stages(self) -> AsyncIterator[str]:
        """How far it is, each time that changes, until it ends; see `Report`."""
        async for line in self._told:
            told: dict[str, Any] = orjson.loads(line)
            self.addresses = told["addresses"]
            yield told["stage"]

    async def wait(self) -> int:
        """Wait for its end, and return its exit code, or the number of a signal, negated."""
        try:
            return await self._process.wait()
        finally:
            if self._killing is not None:
                self._killing.cancel()

    def end(self) -> None:
        """Tell it to end, and end it by force if it takes too long."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        if self._killing is None:
            loop = asyncio.get_running_loop()
            self._killing = loop.call_later(self._end_seconds, self._lose_patience)

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def _lose_patience(self) -> None:
        _log.error(
            "worker %d (process %d) did not end within %g s, and is killed",
            self._number,
            self.pid,
            self._end_seconds,
        )
        self.kill()


@asynccontextmanager
async def spawn_worker(number: int, spec: WorkerSpec) -> AsyncGenerator[WorkerProcess]:
    """A worker process, which is ended at the latest when this is left.

    Raises OSError if it cannot be started.
    """
    ours, its = socket.socketpair()
    try:
        with its:
            process = await asyncio.create_subprocess_exec(
                # -P: the current folder is searched only for targets that are modules.
                *(sys.executable, "-P", "-m", "eventmesh", "_worker"),
                *(str(number), str(its.fileno()), *spec.arguments),
                env=spec.environment,
                stdin=DEVNULL,
                pass_fds=(*spec.descriptors, its.fileno()),
                # Ctrl-C is told to us alone, and we tell the workers.
                process_group=0,
            )
        reader, writer = await asyncio.open_connection(sock=ours)
    except BaseException:
        ours.close()
        raise
    try:
        async with task_group() as tasks:
            tasks.create_task(_close_at_end(process, writer))
            try:
                yield WorkerProcess(number, process, reader, spec.end_seconds)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        writer.close()


async def _close_at_end(process: Process, writer: asyncio.StreamWriter) -> None:
    """Hear no more once the process has ended: what it forked may keep the other end open."""
    await process.wait()
    writer.close()
