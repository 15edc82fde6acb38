"""Answers in place of services whose code does not run: the console says why."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.api.routes import ConsoleOptions
from eventmesh.console.serve import serve_in_place
from eventmesh.console.sources.absent import AbsentSource
from eventmesh.model.settings import Settings
from eventmesh.observability.logs import configure_logging
from eventmesh.processes.dev.failure import describe_end
from eventmesh.processes.dev.folder import DevFolder
from eventmesh.processes.dev.settings import development_settings


@asynccontextmanager
async def stand_in(folder: DevFolder, settings: Settings, code: int) -> AsyncGenerator[None]:
    """Answer at the listening socket of the settings while entered.

    The console says why nothing runs; all other requests are answered with 503. `code` is the exit
    code of the process that ran the services. Raises SettingsError where it cannot be listened
    on, or the settings do not say who may look.
    """
    problem = folder.take_failure() or describe_end(code)
    collection = {"problem": {**problem, "saved": folder.read_saved()}}

    def tell() -> Mapping[str, Any]:
        return collection

    # No store: it is of the services, and what is wrong with it may be why they do not run.
    settings = replace(development_settings(settings), store="")
    configure_logging(settings.log_format, settings.log_level)
    # It tells of each change by itself, as a line of ours does.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    clock = SystemClock()
    async with MemoryBroker(clock) as broker:
        source = AbsentSource(broker, clock)
        options = ConsoleOptions("dev", more={"code": tell})
        async with serve_in_place(source, settings, options):
            yield
