"""Running services in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from importlib.util import find_spec
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from eventmesh.abc import Broker
from eventmesh.host import Host
from eventmesh.middleware.logging import InvocationFields
from eventmesh.model.settings import Settings
from eventmesh.model.value import value
from eventmesh.observability.admin import HealthStatus, admin_server
from eventmesh.observability.logs import configure_logging
from eventmesh.observability.tracing import export_traces
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.service import Service

_log: Final = logging.getLogger(__name__)

_LINGER: Final = 2.0
"""Seconds that threads may take to end when all else has."""

Report: TypeAlias = Callable[[str, Mapping[str, str]], None]
"""Told how far a process is, and the addresses by name that it is reached at by then: "starting",
with "admin" for metrics and health, and "running" with all of them, once everything is up."""


@value
class Program:
    """What a process runs: `open` makes it, on the broker, which is entered before.

    `name` is what its traces are from, and `filters` see all records of its log.
    """

    name: str
    broker: Broker
    settings: Settings
    open: Callable[[], AbstractAsyncContextManager[Host]]
    report: Report
    filters: Sequence[logging.Filter] = ()


def program_name(services: Sequence[Service]) -> str:
    """What a process is called that runs these services."""
    return services[0].name if len(services) == 1 else "eventmesh"


def run(program: Program) -> None:
    """Run a program until SIGINT or SIGTERM has come and it is drained.

    A second SIGINT ends the process at once, with exit code 130. This is the last thing that a
    process does: handlers' threads that still run a little later end with it.

    Raises what opening the program raises.
    """
    settings = program.settings
    filters = [InvocationFields(), *program.filters]
    configure_logging(settings.log_format, settings.log_level, filters=filters)
    with export_traces(program.name), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        # Cancelled is only who is told to stop before all was up.
        with suppress(asyncio.CancelledError):
            runner.run(_serve(program))
        _exit_after_threads()


async def _serve(program: Program) -> None:
    settings = program.settings
    process = _Process(program.broker)
    with on_stop_signals(process.stop):
        async with admin_server(settings.admin_host, settings.admin_port, process) as admin:
            program.report("starting", {"admin": admin})
            # The admin listener before and longer than all else: it tells of a broker that is yet
            # to come, and of the draining.
            async with program.broker, program.open() as host:
                process.show(host)
                program.report("running", {**host.addresses, "admin": admin})
                await process.run()
    _log.info("stopped")


class _Process:
    """How far this process is: starting, running, or draining once it was told to stop."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._registry = CollectorRegistry()
        self._stage = "starting"
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()

    def show(self, host: Host) -> None:
        """Have the metrics of what runs among those that are shown."""
        self._registry.register(host.metrics.registry)

    async def run(self) -> None:
        """Be ready, until it is told to stop."""
        self._stage = "running"
        await self._stop.wait()

    def stop(self, number: signal.Signals) -> None:
        """Act on a signal."""
        if self._stop.is_set() and number == signal.SIGINT:
            os._exit(ExitCode.INTERRUPTED)
        if self._stop.is_set():
            return
        self._stop.set()
        _log.info("%s: finishing what runs", number.name)
        if self._stage == "starting" and self._task is not None:
            self._task.cancel()
        self._stage = "draining"

    async def metrics(self) -> Collector:
        return self._registry

    async def health(self) -> HealthStatus:
        """It is well as long as its event loop comes to say so."""
        return HealthStatus(ok=True, checks={})

    async def readiness(self) -> HealthStatus:
        """Whether new work is wanted, and what each part says about that."""
        connected = self._broker.ready
        checks = {"services": self._stage, "broker": "ready" if connected else "not ready"}
        return HealthStatus(connected and self._stage == "running", checks)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415 - it is not there on every platform

    return uvloop.new_event_loop


def _exit_after_threads() -> None:
    """End the process in a little while, come what may.

    A thread cannot be cancelled, and Python waits for each before it exits: one that hangs would
    be waited for until somebody kills the process.
    """
    watchdog = threading.Timer(_LINGER, os._exit, [ExitCode.OK])
    watchdog.daemon = True
    watchdog.start()
