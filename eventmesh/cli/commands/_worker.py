"""`eventmesh _worker`: what `eventmesh run` starts. Not for people."""

from __future__ import annotations

import os

import click

from eventmesh.cli.parent import Parent
from eventmesh.cli.targets import read_target
from eventmesh.cli.worker import work
from eventmesh.settings import Settings


@click.command(hidden=True)
@click.argument("number", type=int)
@click.argument("descriptor", type=int)
@click.argument("targets", nargs=-1)
def command(*, number: int, descriptor: int, targets: tuple[str, ...]) -> None:
    """Run the services of all TARGETs as worker NUMBER of the supervisor at DESCRIPTOR."""
    settings = Settings.from_environment(os.environ)
    work([read_target(target) for target in targets], settings, number, Parent(descriptor))
