"""The process in which services run during development."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.settings import Settings
from eventmesh.processes.serve import Program, Report, program_name, run
from eventmesh.service import Service


def run_dev_server(services: Sequence[Service], settings: Settings, report: Report) -> None:
    """Run services on the embedded broker until told to stop; `report` gets each stage.

    A landing page at `/` lists the functions. Raises what `host_services` raises.
    """
    # A developer reads the log even if it goes through a pipe.
    if settings.log_format == "auto" and not sys.stderr.isatty():
        settings = replace(settings, log_format="text")
    reached: dict[str, str] = {}

    def report_and_remember(stage: str, addresses: Mapping[str, str]) -> None:
        reached.update(addresses)
        report(stage, addresses)

    def landing_links() -> Mapping[str, str]:
        admin = reached["admin"]
        return {"Metrics": f"{admin}/metrics", "Health": f"{admin}/readyz"}

    broker = MemoryBroker()
    http = partial(serve_functions, landing_links=landing_links)
    serve = partial(host_services, services, broker, settings, http=http)
    run(Program(program_name(services), broker, settings, serve, report_and_remember))
