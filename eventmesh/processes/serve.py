"""Runs services in this process until it is told to stop."""

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
"""Seconds that threads have to end once everything else has ended."""

Report: TypeAlias = Callable[[str, Mapping[str, str]], None]
"""Gets each stage of a process with its addresses by name: "starting", with "admin" for metrics and
health, and "running" with all addresses, once everything is up."""


@value
class Program:
    """What a process runs: `open_host` runs it on the broker, which is entered before.

    `name` is the service name of its traces. `filters` see all records of its log.
    """

    name: str
    broker: Broker
    settings: Settings
    open_host: Callable[[], AbstractAsyncContextManager[Host]]
    report: Report
    filters: Sequence[logging.Filter] = ()


def program_name(services: Sequence[Service]) -> str:
    """Return the name of a process that runs these services."""
    return services[0].name if len(services) == 1 else "eventmesh"


def run(program: Program) -> None:
    """Run a program until SIGINT or SIGTERM, and drain it.

    A second SIGINT ends the process at once, with exit code 130. A process does nothing after this:
    threads of handlers that still run after `_LINGER` seconds end with it.

    Raises what opening the program raises.
    """
    settings = program.settings
    filters = [InvocationFields(), *program.filters]
    configure_logging(settings.log_format, settings.log_level, filters=filters)
    with export_traces(program.name), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        # It is cancelled only if it is told to stop before everything is up.
        with suppress(asyncio.CancelledError):
            runner.run(_serve(program))
        _exit_after_threads()


async def _serve(program: Program) -> None:
    settings = program.settings
    status = _ProcessStatus(program.broker)
    with on_stop_signals(status.stop):
        async with admin_server(settings.admin_host, settings.admin_port, status) as admin:
            program.report("starting", {"admin": admin})
            # The admin listener starts first and stops last: it reports a broker that is not there
            # yet, and the draining.
            async with program.broker, program.open_host() as host:
                status.add_host(host)
                program.report("running", {**host.addresses, "admin": admin})
                await status.run()
    _log.info("stopped")


class _ProcessStatus:
    """The stage of this process: starting, running, or draining once it was told to stop."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._registry = CollectorRegistry()
        self._stage = "starting"
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()
        self._host: Host | None = None

    def add_host(self, host: Host) -> None:
        """Show the host in the metrics and the readiness of the process."""
        self._host = host
        self._registry.register(host.metrics.registry)

    async def run(self) -> None:
        """Be ready until told to stop."""
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
        """Return that it is alive: its event loop got to answer."""
        return HealthStatus(ok=True, checks={})

    async def readiness(self) -> HealthStatus:
        """Return whether it takes work, and the state of each part.

        It is not ready if all runs of a function hang: it would take work that it cannot begin.
        """
        connected = self._broker.ready
        checks = {"services": self._stage, "broker": "ready" if connected else "not ready"}
        stuck = () if self._host is None else self._host.stuck()
        checks |= dict.fromkeys(stuck, "all its runs hang")
        stores: Mapping[str, str] = {} if self._host is None else self._host.stores.check()
        checks |= stores
        ready = connected and self._stage == "running" and not stuck and not stores
        return HealthStatus(ready, checks)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415 - not every platform has it

    return uvloop.new_event_loop


def _exit_after_threads() -> None:
    """End the process after `_LINGER` seconds, even if threads still run.

    A thread cannot be cancelled, and Python waits for each one before it exits: a thread that hangs
    would keep the process running until it is killed.
    """
    watchdog = threading.Timer(_LINGER, os._exit, [ExitCode.OK])
    watchdog.daemon = True
    watchdog.start()
