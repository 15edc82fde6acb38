"""Runs a rollout until its end or an interruption, which leaves it where it stands."""

from __future__ import annotations

import asyncio
import signal
from typing import Final, cast

import click

from eventmesh.aio.clock import SystemClock, TimeLimit
from eventmesh.client.mesh import open_mesh
from eventmesh.clusters.registry import Kind, open_cluster
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings
from eventmesh.model.settings.values import parse_revision
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.processes.stop_signals import on_stop_signals
from eventmesh.rollout.rollout import (
    Plan,
    RolledBack,
    Rollout,
    describe_state,
    find_service,
    roll_back,
)

HEARD_SECONDS: Final = 15.0
"""Seconds in which the processes of the mesh have to answer."""


def tell(text: str) -> None:
    """Print a line of progress at once, also where nobody watches."""
    click.echo(text)


def name_revision(image: str, given: str | None) -> str:
    """Return what the version of an image is called. Raises SettingsError."""
    revision = image if given is None else given
    try:
        return parse_revision(revision)
    except ValueError:
        raise SettingsError(
            f"{revision!r:.200} cannot be the name of a version: name it with --revision, in "
            "letters, digits and any of _ . : @ / + -, 128 at most"
        ) from None


async def deploy(plan: Plan, engine: str, project: str, settings: Settings) -> None:
    """Carry out a rollout, or go on with one. An interruption says where it stands.

    Raises what `Rollout.run` raises, `click.exceptions.Exit` for an interruption, BrokerUnavailable
    and ClusterUnavailable.
    """
    clock = SystemClock()
    async with (
        open_cluster(cast(Kind, engine), project) as cluster,
        open_mesh(settings.broker_address, "deploy") as (broker, observer),
    ):
        with TimeLimit(clock, HEARD_SECONDS):
            await observer.complete.wait()
        rollout = Rollout(cluster, broker, observer, clock, plan=plan, tell=tell)
        working = asyncio.current_task()
        interrupted = False

        def stop(_: signal.Signals) -> None:
            nonlocal interrupted
            if not interrupted and working is not None:
                interrupted = True
                working.cancel()

        with on_stop_signals(stop):
            try:
                await rollout.run()
            except asyncio.CancelledError:
                if not interrupted or working is None or working.uncancel():
                    raise
                tell(describe_state(await find_service(cluster, plan.service)))
                tell(
                    "interrupted, and left so: the same command goes on, and "
                    f"'eventmesh deploy --abort {plan.service}' takes the new version back"
                )
                raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None


async def show(service: str, engine: str, project: str) -> None:
    """Say where the rollout of a service stands. Raises ClusterError and ClusterUnavailable."""
    async with open_cluster(cast(Kind, engine), project) as cluster:
        tell(describe_state(await find_service(cluster, service)))


async def abort(service: str, engine: str, project: str) -> None:
    """Take the new version of a service back. Raises ClusterError and ClusterUnavailable."""
    async with open_cluster(cast(Kind, engine), project) as cluster:
        try:
            found = await find_service(cluster, service)
            await roll_back(cluster, found, tell, "told to")
        except RolledBack:
            return
