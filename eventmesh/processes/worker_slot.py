"""A place for a worker process: there is one in it, or one is about to be."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from typing import Final

from eventmesh.model.retry import Retry
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.worker_process import WorkerProcess, WorkerSpec, spawn_worker

_log: Final = logging.getLogger(__name__)

BACKOFF: Final = Retry(initial=0.5, maximum=30.0)
"""Seconds before a worker that died is started again: the longer, the oftener in a row it did."""

STEADY_SECONDS: Final = 30.0
"""After a worker that was ready for so long, a failure is the first one again."""

_WANTED: Final = (ExitCode.OK, -signal.SIGTERM)
"""How a worker ends that is told to: it may not listen for the signal yet."""


class WorkerSlot:
    """Keeps a worker running under one number, until it is retired.

    `first` is done once the first worker is ready, with None, or has ended before, with its exit
    code. `ended` is set when nothing runs here any more.
    """

    def __init__(self, number: int, spec: WorkerSpec) -> None:
        self.number = number
        self.first: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._spec = spec
        self._retired = asyncio.Event()
        self._worker: WorkerProcess | None = None

    @property
    def admin(self) -> str:
        """The URL of the worker's admin listener; empty while it has none."""
        return "" if self._worker is None else self._worker.addresses.get("admin", "")

    async def run(self) -> None:
        """Start a worker, and another one whenever it ends, until retired."""
        failures = 0
        try:
            while not self._retired.is_set():
                ready_seconds = await self._run_worker()
                if not self._retired.is_set():
                    failures = 1 if ready_seconds >= STEADY_SECONDS else failures + 1
                    await self._pause(failures)
        finally:
            self.ended.set()

    def retire(self) -> None:
        """Have the worker end, and start no other."""
        self._retired.set()
        if self._worker is not None:
            self._worker.end()

    async def leave(self) -> None:
        """Retire it, and return when nothing runs here any more."""
        self.retire()
        await self.ended.wait()

    def kill(self) -> None:
        """End the worker at once."""
        if self._worker is not None:
            self._worker.kill()

    async def _pause(self, failures: int) -> None:
        delay = BACKOFF.delay(failures)
        in_a_row = f": it failed {failures} times in a row" if failures > 1 else ""
        _log.error("worker %d is started again in %.1f s%s", self.number, delay, in_a_row)
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._retired.wait()

    async def _run_worker(self) -> float:
        """Run one worker to its end, and return for how many seconds it was ready."""
        clock = asyncio.get_running_loop().time
        ready_at: float | None = None
        try:
            async with spawn_worker(self.number, self._spec) as worker:
                self._worker = worker
                if self._retired.is_set():
                    worker.end()
                async for stage in worker.stages():
                    if stage == "running":
                        ready_at = clock()
                        self._note_ready(worker)
                self._note_end(worker, await worker.wait())
        except OSError as error:
            _log.error("worker %d cannot be started: %s", self.number, error)
            self._settle_first(ExitCode.FAILED)
        finally:
            self._worker = None
        return 0.0 if ready_at is None else clock() - ready_at

    def _note_ready(self, worker: WorkerProcess) -> None:
        _log.info(
            "worker %d (process %d) is ready at %s",
            self.number,
            worker.pid,
            worker.addresses["http"],
        )
        self._settle_first(None)

    def _note_end(self, worker: WorkerProcess, code: int) -> None:
        wanted = self._retired.is_set() and code in _WANTED
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        _log.log(
            logging.INFO if wanted else logging.ERROR,
            "worker %d (process %d) %s",
            self.number,
            worker.pid,
            "has ended" if wanted else how,
        )
        self._settle_first(code)

    def _settle_first(self, code: int | None) -> None:
        if not self.first.done():
            self.first.set_result(code)
