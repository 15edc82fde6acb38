"""The process in which services run during development."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.api.page import ROOT
from eventmesh.console.serve import console_beside
from eventmesh.host import Host, host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.errors import Problem
from eventmesh.model.runs import Question, Sight
from eventmesh.model.settings import Settings
from eventmesh.presence import Instance
from eventmesh.processes.dev.run_memory import run_memory
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look
from eventmesh.processes.serve import Program, Report, program_name, run
from eventmesh.service import Service


def run_dev_server(
    services: Sequence[Service], settings: Settings, report: Report, memory: Path | None = None
) -> None:
    """Run services on the embedded broker until told to stop; `report` gets each stage.

    A landing page at `/` lists the functions, and the console is at `/_console/`. What is
    remembered of runs is read from the file `memory` and written to it at the end, so that the
    process which replaces this one can replay them. Raises what `host_services` raises.
    """
    if settings.record_payloads is None:
        settings = replace(settings, record_payloads=True)
    # A developer reads the log even if it goes through a pipe.
    if settings.log_format == "auto" and not sys.stderr.isatty():
        settings = replace(settings, log_format="text")
    reached: dict[str, str] = {}

    def report_and_remember(stage: str, addresses: Mapping[str, str]) -> None:
        reached.update(addresses)
        report(stage, addresses)

    def landing_links() -> Mapping[str, str]:
        admin = reached["admin"]
        return {"Console": f"{ROOT}/", "Metrics": f"{admin}/metrics", "Health": f"{admin}/readyz"}

    running: list[tuple[Callable[[Question], Sight], Callable[[], Instance]]] = []

    def find_running() -> tuple[Callable[[Question], Sight], Callable[[], Instance]]:
        if not running:
            raise Problem(503, "the services are being started: retry in a moment")
        return running[0]

    def describe() -> Instance:
        return find_running()[1]()

    def look(question: Question) -> Sight:
        return find_running()[0](question)

    broker = MemoryBroker()
    http = partial(
        serve_functions,
        landing_links=landing_links,
        beside=partial(console_beside, describe=describe, look=look),
    )

    @asynccontextmanager
    async def serve() -> AsyncGenerator[Host]:
        with run_memory(memory) as carried:
            async with host_services(services, broker, settings, http=http) as host:
                described = build_instance(host, services, settings, SystemClock())
                running.append((build_look(host), described))
                carried.restore(host.metrics.runs)
                yield host
                carried.save()  # Before runs are drained, which may take longer than there is time.

    run(Program(program_name(services), broker, settings, serve, report_and_remember))
