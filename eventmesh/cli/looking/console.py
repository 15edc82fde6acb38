"""Runs the console until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final

import click

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.client.mesh import MESH_CONNECT_SECONDS
from eventmesh.console.api import ConsoleOptions
from eventmesh.console.serve import serve_console
from eventmesh.console.sources import open_mesh_source
from eventmesh.doctor.inspect import inspect_mesh
from eventmesh.doctor.store import inspect_store
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.leftovers.names import list_recorded_functions
from eventmesh.model.settings import Settings
from eventmesh.observability.logs import configure_logging
from eventmesh.processes.stop_signals import on_stop_signals

WAIT_SECONDS: Final = 1.0
"""Seconds that processes have to answer the doctor."""


async def run_console(settings: Settings, *, read_only: bool) -> None:
    """Serve the console of the mesh on the broker of the settings, until a signal.

    Raises SettingsError and BrokerUnavailable.
    """
    url = settings.broker_address
    check_shared(url)
    configure_logging(settings.log_format, settings.log_level)
    stop = asyncio.Event()
    with on_stop_signals(lambda _: stop.set()):
        async with (
            open_broker(url, "eventmesh console", connect_timeout=MESH_CONNECT_SECONDS) as broker,
            open_mesh_source(broker, gateways_of(settings), SystemClock()) as source,
            serve_console(
                source,
                settings,
                ConsoleOptions(
                    "console",
                    read_only,
                    partial(_examine, settings),
                    partial(list_recorded_functions, broker, url),
                ),
            ) as address,
        ):
            click.echo(f"The console is at {address}")
            await stop.wait()


async def _examine(settings: Settings) -> Sequence[Mapping[str, Any]]:
    """Return what the doctor finds, as `eventmesh doctor` does."""
    report = await inspect_mesh(settings.broker_address, [], WAIT_SECONDS)
    found = list(report.findings)
    if settings.store:
        found += await inspect_store(settings.store)
    return [asdict(finding) for finding in found]
