"""The process in which services run while they are developed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import click

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.cli.describe import services_table
from eventmesh.cli.output import print_table
from eventmesh.host import hosting
from eventmesh.model.settings import Settings
from eventmesh.processes.serve import Program, program_name, run
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services


def develop(targets: Sequence[Target], settings: Settings) -> None:
    """Run the services of the targets on the embedded broker until they are told to stop.

    Raises what importing the targets, and what `hosting` them raises.
    """
    # Whoever develops reads the log, also where it goes through a pipe.
    if settings.log_format == "auto" and not sys.stderr.isatty():
        settings = replace(settings, log_format="text")
    services = load_services(targets)

    def report(stage: str, addresses: Mapping[str, str]) -> None:
        if stage != "running":
            return
        print_table(services_table(services))
        for what, url in _reached(addresses, settings):
            click.echo(f"{what:<9} {url}")
        click.echo("Press Ctrl-C to stop.")

    broker = MemoryBroker()
    serve = partial(hosting, services, broker, settings)
    run(Program(program_name(services), broker, settings, serve, report))


def _reached(addresses: Mapping[str, str], settings: Settings) -> list[tuple[str, str]]:
    """What is to be found where."""
    http, admin = addresses["http"], addresses["admin"]
    docs = [("API docs", f"{http}/docs")] if settings.docs else []
    return [("HTTP", http), *docs, ("Metrics", f"{admin}/metrics"), ("Health", f"{admin}/readyz")]
