"""The processes of a mesh: asks for them, and prints them as tables or JSON."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import click
from rich.console import Group, RenderableType
from rich.table import Table

from eventmesh.cli.text.output import add_row, console, format_age, print_json, print_table
from eventmesh.client.mesh import open_mesh
from eventmesh.presence import Instance
from eventmesh.presence.answers import check_accepting
from eventmesh.processes.stop_signals import on_stop_signals

REFRESH_SECONDS: Final = 1.0
"""Seconds between two looks for changes."""


async def show_instances(url: str, wait: float, *, as_json: bool) -> None:
    """Print the processes that answer within `wait` seconds.

    Raises what `open_mesh` raises, and BrokerUnavailable if no process can answer.
    """
    async with open_mesh(url, "ps") as (broker, observer):
        await asyncio.sleep(wait)
        await check_accepting(broker)
        instances = list(observer.instances.values())
    if as_json:
        print_json([instance_fields(instance) for instance in instances])
    else:
        print_table(presence_tables(instances))


async def watch_instances(url: str) -> None:
    """Print the processes whenever they change, until told to stop; on a terminal, in place.

    Raises what `open_mesh` raises.
    """
    stop = asyncio.Event()
    screen = console()
    shown = ""
    with on_stop_signals(lambda _: stop.set()):
        async with open_mesh(url, "ps") as (_, observer):
            while not stop.is_set():
                with screen.capture() as captured:
                    screen.print(presence_tables(observer.instances.values()))
                if captured.get() != shown:
                    shown = captured.get()
                    screen.clear()
                    click.echo(shown, nl=False)
                await _wait(stop)


async def _wait(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(REFRESH_SECONDS):
            await stop.wait()
    except TimeoutError:
        return


def instance_fields(instance: Instance) -> dict[str, Any]:
    """Return an instance as plain values; `started` is in seconds since the epoch."""
    fields = asdict(instance)
    for name in ("openapi", "endpoints", "sources", "work", "kept_by"):
        del fields[name]
    return fields


def presence_tables(instances: Iterable[Instance]) -> RenderableType:
    """Build the tables of the processes and of the functions that they serve."""
    ordered = sorted(instances, key=lambda instance: (sorted(instance.services), instance.started))
    if not ordered:
        return "No process answers."
    return Group(_instances_table(ordered), _functions_table(ordered))


def _instances_table(instances: Sequence[Instance]) -> Table:
    table = Table("Instance", "Host", "Process", "Services", "Up", "Restarts", "Running", "Waiting")
    now = time.time()
    for instance in instances:
        versions = instance.services.items()
        services = ", ".join(f"{name} {version}".rstrip() for name, version in versions)
        add_row(
            table,
            instance.id,
            instance.host,
            str(instance.pid),
            f"{services} (at zero)" if instance.stand_in else services or "gateway",
            format_age(now - instance.started),
            str(instance.restarts),
            str(sum(instance.running.values())),
            str(sum(instance.waiting.values())),
        )
    return table


def _functions_table(instances: Sequence[Instance]) -> Table:
    serving: Mapping[str, list[Instance]] = defaultdict(list)
    triggers: dict[str, str] = {}
    for instance in instances:
        for function in instance.functions:
            name = function["name"]
            serving[name].append(instance)
            triggers[name] = "\n".join(trigger["description"] for trigger in function["triggers"])
    table = Table("Function", "Triggers", "Versions", "Instances", "Running", "Waiting")
    for name in sorted(serving):
        service = name.partition(".")[0]
        versions = {instance.services[service] for instance in serving[name]}
        running = sum(instance.running.get(name, 0) for instance in serving[name])
        waiting = sum(instance.waiting.get(name, 0) for instance in serving[name])
        add_row(
            table,
            name,
            triggers[name] or "by name only",
            ", ".join(sorted(versions)),
            str(len(serving[name])),
            str(running),
            str(waiting),
        )
    return table
