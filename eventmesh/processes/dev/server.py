"""The process in which services run during development."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

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
from eventmesh.processes.dev.declared import compare, declare
from eventmesh.processes.dev.folder import DevFolder
from eventmesh.processes.dev.recent_log import recent_log
from eventmesh.processes.dev.run_memory import run_memory
from eventmesh.processes.dev.settings import development_settings
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look
from eventmesh.processes.serve import Program, Report, program_name, run
from eventmesh.service import Service


def run_dev_server(
    services: Sequence[Service],
    settings: Settings,
    report: Report,
    folder: DevFolder | None = None,
) -> None:
    """Run services on the embedded broker until told to stop; `report` gets each stage.

    A landing page at `/` lists the functions, and the console is at `/_console/`. What is
    remembered of runs is read from the `folder` and written to it at the end, so that the process
    which replaces this one can replay them. What the last save changed is told by the console.
    Raises what `host_services` raises.
    """
    settings = development_settings(settings)
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

    code: dict[str, Any] = {}

    def tell_code() -> Mapping[str, Any]:
        return code

    broker = MemoryBroker()

    @asynccontextmanager
    async def serve() -> AsyncGenerator[Host]:
        with run_memory(None if folder is None else folder.runs) as carried, recent_log() as log:
            more = {"code": tell_code, "log": log.lines}
            http = partial(
                serve_functions,
                landing_links=landing_links,
                beside=partial(console_beside, describe=describe, look=look, more=more),
            )
            async with host_services(services, broker, settings, http=http) as host:
                code.update(_find_saved(folder, services, host))
                described = build_instance(host, services, settings, SystemClock())
                running.append((build_look(host), described))
                carried.restore(host.metrics.runs)
                yield host
                carried.save()  # Before runs are drained, which may take longer than there is time.

    run(Program(program_name(services), broker, settings, serve, report_and_remember))


def _find_saved(
    folder: DevFolder | None, services: Sequence[Service], host: Host
) -> Mapping[str, Any]:
    """Return what was saved before this process was started, and what that has changed."""
    if folder is None:
        return {}
    declared = declare(services, host.functions.values())
    before, saved = folder.swap_declared(declared)
    if before is None or saved is None:
        return {}
    return {"saved": {**saved, **compare(before, declared)}}
