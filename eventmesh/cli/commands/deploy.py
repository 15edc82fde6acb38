"""`eventmesh deploy`: a new version of a service takes the place of the old one."""

from __future__ import annotations

import asyncio

import click

from eventmesh.cli.cluster_options import cluster_options
from eventmesh.cli.options import read_duration
from eventmesh.cli.process_options import read_settings


def _read_share(_ctx: click.Context, _parameter: click.Parameter, text: str) -> float:
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not text.endswith("%") or not 0 <= share <= 1:
        raise click.BadParameter(f"{text!r} is not a share: write per cent, such as 10%")
    return share


@click.command()
@click.argument("service")
@click.argument("image", required=False)
@cluster_options
@click.option(
    "--share",
    metavar="PERCENT",
    default="10%",
    show_default=True,
    callback=_read_share,
    help="The share of all invocations that the new version gets at first, at most.",
)
@click.option(
    "--bake",
    metavar="DURATION",
    default="5m",
    show_default=True,
    callback=read_duration,
    help="How long it is tried with that share.",
)
@click.option(
    "--max-errors",
    metavar="PERCENT",
    default="1%",
    show_default=True,
    callback=_read_share,
    help="The share of its invocations that may fail.",
)
@click.option(
    "--max-p99",
    metavar="DURATION",
    callback=read_duration,
    help="How long 99 of 100 of its invocations may take at most.  [default: any time]",
)
@click.option(
    "--least",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="How many invocations must have ended before it is judged.",
)
@click.option(
    "--max-replicas",
    type=click.IntRange(2),
    default=20,
    show_default=True,
    help="How many replicas of both versions may run at once.",
)
@click.option(
    "--rolling",
    is_flag=True,
    help="Replace one replica after the other at once, without a share and a bake time.",
)
@click.option("--revision", metavar="NAME", help="What it is called.  [default: the image]")
@click.option("--status", is_flag=True, help="Only say where it stands.")
@click.option("--abort", is_flag=True, help="Take the new version back.")
def command(
    *,
    service: str,
    image: str | None,
    engine: str,
    project: str,
    broker: str | None,
    share: float,
    bake: float,
    max_errors: float,
    max_p99: float | None,
    least: int,
    max_replicas: int,
    rolling: bool,
    revision: str | None,
    status: bool,
    abort: bool,
) -> None:
    """Replace SERVICE by IMAGE: a share of all invocations first, then all.

    The new version runs beside the old one as a canary. If its errors or its 99th percentile are
    above a bound, it is rolled back, with exit code 1; otherwise it is promoted after the bake
    time. With --rolling it takes the place at once, replica by replica, and is rolled back by the
    same bounds. An interrupted rollout stays where it is, and the same command goes on.
    """
    if status and abort:
        raise click.UsageError("--status and --abort do not go together")
    from eventmesh.rollout.run import abort as take_back  # noqa: PLC0415 - not for --help
    from eventmesh.rollout.run import deploy, name_revision, show  # noqa: PLC0415

    if status:
        asyncio.run(show(service, engine, project))
        return
    if abort:
        asyncio.run(take_back(service, engine, project))
        return
    if image is None:
        raise click.UsageError("name the image of the new version, or --status or --abort")
    from eventmesh.rollout.rollout import Plan  # noqa: PLC0415
    from eventmesh.rollout.rule import Bounds  # noqa: PLC0415

    settings, _ = read_settings({"broker": broker})
    bounds = Bounds(bake=bake, max_errors=max_errors, max_p99=max_p99, least=least)
    called = name_revision(image, revision)
    plan = Plan(service, image, called, share, max_replicas, bounds, rolling)
    asyncio.run(deploy(plan, engine, project, settings))
