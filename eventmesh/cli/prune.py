"""Shows what is left of functions that no process has, and removes it."""

from __future__ import annotations

import getpass
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import click
from rich.table import Table

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.cli.text.dead_letters import count_dead_letters
from eventmesh.cli.text.output import add_row, format_age, print_table
from eventmesh.cli.with_client import is_http, read_credentials
from eventmesh.client.credentials import check_credentials
from eventmesh.client.http import open_http_client
from eventmesh.client.http_leftovers import HttpLeftovers
from eventmesh.client.mesh import MESH_CONNECT_SECONDS
from eventmesh.engine.upkeep.leftovers import Fate, LeftoverAccess, Remains, Removed
from eventmesh.leftovers.mesh import open_pruner
from eventmesh.model.settings import Settings
from eventmesh.observability.logs import configure_logging

_audit: Final = logging.getLogger("eventmesh.audit")


@asynccontextmanager
async def _open_access(url: str, wait: float) -> AsyncGenerator[LeftoverAccess]:
    if is_http(url):
        credentials = check_credentials(**read_credentials(url))
        async with open_http_client(url, credentials) as client:
            yield HttpLeftovers(client)
        return
    check_shared(url)
    async with (
        open_broker(url, "eventmesh prune", connect_timeout=MESH_CONNECT_SECONDS) as broker,
        open_pruner(url, broker, SystemClock(), wait) as pruner,
    ):
        yield pruner


async def find(url: str, name: str, wait: float) -> Sequence[Remains]:
    """Return what is left, as `LeftoverAccess.find` does.

    Processes have `wait` seconds to answer over a broker.
    """
    async with _open_access(url, wait) as leftovers:
        return await leftovers.find(name)


def show(remains: Sequence[Remains]) -> None:
    """Print what is left, as a table."""
    table = Table("Function", "Gone for", "Waiting", "Dead letters", "Subscribed to")
    now = time.time()
    for each in remains:
        add_row(
            table,
            each.function,
            format_age(now - each.since) if each.since else "",
            "" if each.waiting is None else f"{each.waiting:,}",
            "" if each.dead is None else f"{each.dead:,}",
            ", ".join(each.patterns),
        )
    print_table(table)


async def remove(settings: Settings, url: str, fates: Mapping[str, Fate], wait: float) -> None:
    """Remove these functions one after the other, and say what was done with each.

    Raises as `LeftoverAccess.remove` does, at the first that cannot be removed.
    """
    configure_logging(settings.log_format, logging.WARNING)
    _audit.setLevel(logging.INFO)
    async with _open_access(url, wait) as leftovers:
        for function, fate in fates.items():
            try:
                removed = await leftovers.remove(function, fate)
            except BaseException as error:
                _note(function, f"failed: {str(error) or type(error).__name__}")
                raise
            done = _describe(fate, removed)
            _note(function, done)
            click.echo(f"{function} removed: {done}")


def _describe(fate: Fate, removed: Removed) -> str:
    moved = f"{_count(removed.moved)} moved to {fate.move_to}" if removed.moved else ""
    dropped = f"{_count(removed.dropped)} dropped" if removed.dropped else ""
    dead = count_dead_letters(removed.dead) + " dropped" if removed.dead else ""
    kept = count_dead_letters(removed.dead_kept) + " kept" if removed.dead_kept else ""
    return ", ".join(part for part in (moved, dropped, dead, kept) if part) or "nothing waited"


def _count(invocations: int) -> str:
    return "1 invocation" if invocations == 1 else f"{invocations:,} invocations"


def _note(function: str, outcome: str) -> None:
    """Note in the audit log who removed what."""
    who = f"{_user()}@{socket.gethostname()}"
    _audit.info(
        "prune %s by %s: %s",
        function,
        who,
        outcome,
        extra={
            "action": "prune",
            "target": function,
            "id": "",
            "principal": who,
            "method": "cli",
            "outcome": outcome,
        },
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Containers have users without names.
        return str(os.getuid())
