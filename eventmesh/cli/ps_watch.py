"""Asking a mesh who is there, and printing the answers."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from eventmesh.cli.output import console, print_json, print_table
from eventmesh.cli.ps import check_taking, instance_fields, mesh_at, presence_tables
from eventmesh.processes.stop_signals import told_to_stop

REFRESH_SECONDS: Final = 1.0


async def show_presence(url: str, wait: float, *, as_json: bool) -> None:
    """Print who answers within `wait` seconds.

    Raises what `mesh_at` raises, and BrokerUnavailable where nobody can answer.
    """
    async with mesh_at(url, "ps") as (broker, observer):
        await asyncio.sleep(wait)
        await check_taking(broker)
        instances = list(observer.instances.values())
    if as_json:
        print_json([instance_fields(instance) for instance in instances])
    else:
        print_table(presence_tables(instances))


async def watch_presence(url: str) -> None:
    """Print who is there whenever that changes, until told to stop; on a terminal, in one place.

    Raises what `mesh_at` raises.
    """
    stop = asyncio.Event()
    screen = console()
    shown = ""
    with told_to_stop(lambda _: stop.set()):
        async with mesh_at(url, "ps") as (_, observer):
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
