"""Asking a mesh who is there, and printing the answers."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from eventmesh.cli.output import console, print_json, print_table
from eventmesh.cli.ps import instance_fields, presence_tables
from eventmesh.client.mesh import check_accepting, open_mesh
from eventmesh.processes.stop_signals import on_stop_signals

REFRESH_SECONDS: Final = 1.0


async def show_presence(url: str, wait: float, *, as_json: bool) -> None:
    """Print who answers within `wait` seconds.

    Raises what `open_mesh` raises, and BrokerUnavailable where nobody can answer.
    """
    async with open_mesh(url, "ps") as (broker, observer):
        await asyncio.sleep(wait)
        await check_accepting(broker)
        instances = list(observer.instances.values())
    if as_json:
        print_json([instance_fields(instance) for instance in instances])
    else:
        print_table(presence_tables(instances))


async def watch_presence(url: str) -> None:
    """Print who is there whenever that changes, until told to stop; on a terminal, in one place.

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
