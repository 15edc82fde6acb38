"""A worker slot: keeps one worker process running under one number."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from eventmesh.model.retry import Retry
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.worker_process import WorkerProcess, WorkerSpec, spawn_worker

_log: Final = logging.getLogger(__name__)

BACKOFF: Final = Retry(initial=0.5, maximum=30.0)
"""The delays before a worker that died is restarted, by how often it died in a row."""

STEADY_SECONDS: Final = 30.0
"""After a worker was ready for so long, its next failure counts as the first."""

_EXPECTED_CODES: Final = (ExitCode.OK, -signal.SIGTERM)
"""Exit codes of a worker that was told to end: it may not handle the signal yet."""


class WorkerSlot:
    """Keeps a worker running under one number until it is retired.

    `on_drain` is called with the slot when its worker was told to drain by somebody else.
    `restarts` counts how often its worker died and was started again.

    The slot retires itself if its first worker ends before it is ready, with an exit code that
    `gives_up` accepts. `first` is done once the first worker is ready, with None, or has ended,
    with its exit code. `ended` is set when no worker runs here any more; `was_overdue` says whether
    the last one had to be killed, because it did not end in time.
    """

    def __init__(
        self,
        number: int,
        spec: WorkerSpec,
        gives_up: Callable[[int], bool],
        on_drain: Callable[[WorkerSlot], object],
    ) -> None:
        self._on_drain = on_drain
        self.restarts = 0
        self.number = number
        self.first: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.was_overdue = False
        self._spec = spec
        self._gives_up = gives_up
        self._retired = asyncio.Event()
        self._worker: WorkerProcess | None = None

    @property
    def admin(self) -> str:
        """The URL of the worker's admin listener; empty while it has none."""
        return "" if self._worker is None else self._worker.addresses.get("admin", "")

    @property
    def is_retired(self) -> bool:
        """Whether no other worker is started here."""
        return self._retired.is_set()

    async def run(self) -> None:
        """Start a worker, and another one whenever it ends, until retired."""
        failures = 0
        try:
            while not self._retired.is_set():
                ready_seconds = await self._run_worker()
                if not self._retired.is_set():
                    failures = 1 if ready_seconds >= STEADY_SECONDS else failures + 1
                    await self._back_off(failures)
                    self.restarts += 1
        finally:
            self.ended.set()

    def retire(self) -> None:
        """Tell the worker to end, and start no other."""
        self._retired.set()
        if self._worker is not None:
            self._worker.end()

    async def close(self) -> None:
        """Retire, and return when no worker runs here any more."""
        self.retire()
        await self.ended.wait()

    def kill(self) -> None:
        """Kill the worker at once."""
        if self._worker is not None:
            self._worker.kill()

    async def _back_off(self, failures: int) -> None:
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
            async with spawn_worker(self.number, self._spec, self.restarts) as worker:
                self._worker = worker
                if self._retired.is_set():
                    worker.end()
                async for stage in worker.stages():
                    if stage == "running":
                        ready_at = clock()
                        self._on_ready(worker)
                    elif stage == "draining":
                        self._on_drain(self)
                self._on_end(worker, await worker.wait())
                self.was_overdue = worker.was_overdue
        except OSError as error:
            _log.error("worker %d cannot be started: %s", self.number, error)
            self._settle_first(ExitCode.FAILED)
        finally:
            self._worker = None
        return 0.0 if ready_at is None else clock() - ready_at

    def _on_ready(self, worker: WorkerProcess) -> None:
        _log.info(
            "worker %d (process %d) is ready at %s",
            self.number,
            worker.pid,
            worker.addresses["http"],
        )
        self._settle_first(None)

    def _on_end(self, worker: WorkerProcess, code: int) -> None:
        expected = self._retired.is_set() and code in _EXPECTED_CODES
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        _log.log(
            logging.INFO if expected else logging.ERROR,
            "worker %d (process %d) %s",
            self.number,
            worker.pid,
            "has ended" if expected else how,
        )
        self._settle_first(code)

    def _settle_first(self, code: int | None) -> None:
        if self.first.done():
            return
        self.first.set_result(code)
        if code is not None and self._gives_up(code):
            self._retired.set()
