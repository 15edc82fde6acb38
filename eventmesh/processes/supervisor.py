"""The supervisor: keeps worker processes running, replaces them one by one, and ends them all."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from eventmesh.model.settings import Settings
from eventmesh.observability.admin import admin_server
from eventmesh.observability.aggregation import aggregate_admins
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.stop_signals import STOP, on_stop_signals
from eventmesh.processes.worker_process import WorkerSpec
from eventmesh.processes.worker_slot import WorkerSlot

_log: Final = logging.getLogger(__name__)

REPEAT_SECONDS: Final = 1.0
"""A SIGTERM within so many seconds of another counts as the same one: some senders signal a process
and then its group."""

READY_SECONDS: Final = 300.0
"""Seconds that a worker which replaces another has to get ready."""


async def supervise(
    spec: WorkerSpec, workers: int, listener: socket.socket, settings: Settings
) -> int:
    """Keep so many workers running until SIGINT or SIGTERM, and return the exit code.

    Those signals end the workers, and a second one kills them. The code is FAILED if one had to be
    killed because it did not end in time. SIGHUP replaces the workers one by one, each once its
    successor is ready. `listener` is the socket of their HTTP; it is closed when they end. If the
    first worker ends with the code for wrong usage, that ends everything, with the same code; any
    other worker that dies is started again, for ever.

    Raises SettingsError if the admin address cannot be used.
    """
    supervisor = Supervisor(spec, workers, listener)
    with on_stop_signals(supervisor.on_signal, (*STOP, signal.SIGHUP)):
        async with (
            aggregate_admins(supervisor.admins, supervisor.metrics) as aggregated,
            admin_server(settings.admin_host, settings.admin_port, aggregated) as admin,
        ):
            _log.info("metrics and health of all workers: %s", admin)
            return await supervisor.run()


class Supervisor:
    """The slots of all workers."""

    def __init__(self, spec: WorkerSpec, workers: int, listener: socket.socket) -> None:
        self._spec = spec
        self._workers = workers
        self._listener = listener
        self._slots: dict[int, WorkerSlot] = {}
        self._tasks = asyncio.TaskGroup()
        self._stop = asyncio.Event()
        self._replace = asyncio.Event()
        self._stopped_at = 0.0
        self._code = ExitCode.OK

    def metrics(self) -> Sequence[Metric]:
        """Return how often workers died and were started again."""
        return [count_restarts({slot.number: slot.restarts for slot in self._slots.values()})]

    def admins(self) -> Mapping[str, str]:
        """Return the URLs of the admin listeners by worker number; empty for one without."""
        return {str(slot.number): slot.admin for slot in self._slots.values()}

    def on_signal(self, number: signal.Signals) -> None:
        """Act on a signal."""
        if number == signal.SIGHUP:
            self._replace.set()
        elif not self._stop.is_set():
            _log.info("%s: the workers finish what runs", number.name)
            self._stop.set()
            self._stopped_at = _now()
        elif number == signal.SIGINT or _now() - self._stopped_at > REPEAT_SECONDS:
            _log.warning("%s again: the workers are killed", number.name)
            self._code = ExitCode.INTERRUPTED
            for slot in self._slots.values():
                slot.kill()

    async def run(self) -> int:
        """Keep workers running until told to stop, and return the exit code."""
        async with self._tasks:
            managing = self._tasks.create_task(self._manage())
            await self._stop.wait()
            managing.cancel()
            self._listener.close()
            for slot in self._slots.values():
                slot.retire()
        _log.info("stopped")
        return self._code

    async def _manage(self) -> None:
        """Start the workers, and replace them at each SIGHUP."""
        # One goes first, so that an error which all of them meet is reported once.
        if await self._open_slot(_is_usage_error).first == ExitCode.USAGE:
            self._code = ExitCode.USAGE
            self._stop.set()
            return
        while len(self._slots) < self._workers:
            self._open_slot(_never)
        while True:
            await self._replace.wait()
            self._replace.clear()
            await self._replace_all()

    async def _replace_all(self) -> None:
        _log.info("SIGHUP: the workers are replaced one by one")
        for old in list(self._slots.values()):
            if old.is_retired:
                continue  # It drains, and has a successor.
            new = self._open_slot(_always)
            if not await _becomes_ready(new):
                _log.error(
                    "worker %d did not start, and no more workers are replaced: fix the reported "
                    "error and send SIGHUP again",
                    new.number,
                )
                # The next SIGHUP must find the slots of the workers that stay, and no other.
                await new.close()
                return
            # Another has taken its place if it was told to drain meanwhile.
            await (new if old.is_retired else old).close()
        _log.info("all workers are replaced")

    def _open_slot(self, gives_up: Callable[[int], bool]) -> WorkerSlot:
        """Open a slot under the smallest free number."""
        number = next(n for n in count(1) if n not in self._slots)
        slot = WorkerSlot(number, self._spec, gives_up, self._replace_drained)
        self._slots[number] = slot
        self._tasks.create_task(self._run_slot(slot))
        return slot

    def _replace_drained(self, slot: WorkerSlot) -> None:
        """Start another worker beside one that finishes what runs, and ends."""
        if self._stop.is_set() or slot.is_retired:
            return
        _log.info("worker %d was told to drain: another takes its place", slot.number)
        self._open_slot(_never)
        slot.retire()

    async def _run_slot(self, slot: WorkerSlot) -> None:
        try:
            await slot.run()
        finally:
            del self._slots[slot.number]
            if slot.was_overdue and self._stop.is_set() and self._code == ExitCode.OK:
                # What it had begun was cut off: whoever stopped it has to know.
                self._code = ExitCode.FAILED


def count_restarts(restarts: Mapping[int, int]) -> Metric:
    """Return the metric of how often the workers with these numbers were started again."""
    counted = CounterMetricFamily(
        "eventmesh_worker_restarts",
        "Workers that died and were started again.",
        labels=["worker"],
    )
    for number, times in restarts.items():
        counted.add_metric([str(number)], times)
    return counted


def _is_usage_error(code: int) -> bool:
    return code == ExitCode.USAGE


def _always(_: int) -> bool:
    return True


def _never(_: int) -> bool:
    return False


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _becomes_ready(slot: WorkerSlot) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS):
            return await asyncio.shield(slot.first) is None
    except TimeoutError:
        return False
