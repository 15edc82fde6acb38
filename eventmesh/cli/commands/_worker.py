"""`eventmesh _worker`: started by `eventmesh run` and `eventmesh gateway`, not by people."""

from __future__ import annotations

import os

import click

from eventmesh.model.settings import Settings
from eventmesh.processes.supervisor_channel import SupervisorChannel
from eventmesh.processes.worker import run_gateway_worker, run_service_worker
from eventmesh.targets.parse import read_target


@click.command(hidden=True)
@click.argument("number", type=int)
@click.argument("descriptor", type=int)
@click.argument("targets", nargs=-1)
@click.option("--gateway", is_flag=True)
@click.option("--restarts", type=int, default=0)
def command(
    *, number: int, descriptor: int, targets: tuple[str, ...], gateway: bool, restarts: int
) -> None:
    """Run all TARGETs, or a gateway, as worker NUMBER of the supervisor at DESCRIPTOR."""
    settings = Settings.from_environment(os.environ)
    supervisor = SupervisorChannel(descriptor, restarts)
    if gateway:
        run_gateway_worker(settings, number, supervisor)
    else:
        run_service_worker(
            [read_target(target) for target in targets], settings, number, supervisor
        )
