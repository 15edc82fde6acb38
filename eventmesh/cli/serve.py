"""Running services in this process until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from typing import Final, TypeAlias

from prometheus_client import CollectorRegistry

from eventmesh.abc import Broker
from eventmesh.cli.failures import ExitCode
from eventmesh.cli.signals import told_to_stop
from eventmesh.host import hosting
from eventmesh.middleware.logging import InvocationFields
from eventmesh.observability.admin import admin_server
from eventmesh.observability.logs import configure_logging
from eventmesh.observability.tracing import exporting_traces
from eventmesh.service import Service
from eventmesh.settings import Settings

_log: Final = logging.getLogger(__name__)

_LINGER: Final = 2.0
"""Seconds that threads may take to end when all else has."""

Started: TypeAlias = Callable[[Mapping[str, str]], None]
"""Told, once everything is up, the addresses by name; "admin" is that of metrics and health."""


def run(services: Sequence[Service], broker: Broker, settings: Settings, started: Started) -> None:
    """Run services until SIGINT or SIGTERM has come and they are drained.

    A second SIGINT ends the process at once, with exit code 130. This is the last thing that a
    process does: handlers' threads that still run a little later end with it.

    Raises what `hosting` raises.
    """
    configure_logging(settings.log_format, settings.log_level, filters=[InvocationFields()])
    name = services[0].name if len(services) == 1 else "eventmesh"
    with exporting_traces(name), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        # Cancelled is only who is told to stop before all was up.
        with suppress(asyncio.CancelledError):
            runner.run(_serve(services, broker, settings, started))
        _end_soon()


async def _serve(
    services: Sequence[Service], broker: Broker, settings: Settings, started: Started
) -> None:
    state = _State(broker)
    metrics = CollectorRegistry()
    with told_to_stop(state.stop):
        async with (
            broker,
            # Before the services and longer than they: it tells of their draining too.
            admin_server(
                settings.admin_host, settings.admin_port, metrics, state.readiness
            ) as admin,
            hosting(services, broker, settings) as host,
        ):
            metrics.register(host.metrics.registry)
            started({**host.addresses, "admin": admin})
            await state.run()
    _log.info("stopped")


class _State:
    """How far this process is: starting, running, or draining once it was told to stop."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._stage = "starting"
        self._stop = asyncio.Event()
        self._task = asyncio.current_task()

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

    def readiness(self) -> tuple[bool, Mapping[str, str]]:
        """Whether new work is wanted, and what each part says about that."""
        connected = self._broker.ready
        checks = {"services": self._stage, "broker": "ready" if connected else "not ready"}
        return connected and self._stage == "running", checks


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    import uvloop  # noqa: PLC0415 - it is not there on every platform

    return uvloop.new_event_loop


def _end_soon() -> None:
    """End the process in a little while, come what may.

    A thread cannot be cancelled, and Python waits for each before it exits: one that hangs would
    be waited for until somebody kills the process.
    """
    watchdog = threading.Timer(_LINGER, os._exit, [ExitCode.OK])
    watchdog.daemon = True
    watchdog.start()
