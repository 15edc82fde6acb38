"""Kill each node of a cluster under a load of all subjects at once, and print what they lost."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from benchmarks.cluster.fleet import Fleet
from benchmarks.cluster.subjects import SUBJECTS
from benchmarks.processes import ROOT

START_SECONDS: Final = 180.0
BACK_SECONDS: Final = 60.0
STANDSTILL_SECONDS: Final = 45.0
LOOK_SECONDS: Final = 0.2


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds, and say whether it does."""
    last = time.monotonic() + seconds
    # What other processes did has no event to wait for.
    while not holds() and time.monotonic() < last:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
    return holds()


def _handled(fleets: Sequence[Fleet]) -> list[int]:
    return [len(tally.handled) for fleet in fleets for tally in fleet.tallies.values()]


def _confirmed(fleets: Sequence[Fleet]) -> list[int]:
    return [len(tally.confirmed) for fleet in fleets for tally in fleet.tallies.values()]


async def _all_go_on(fleets: Sequence[Fleet], seconds: float) -> bool:
    """Wait until each kind of each subject is called and handled."""
    before = _handled(fleets) + _confirmed(fleets)

    def go_on() -> bool:
        now = _handled(fleets) + _confirmed(fleets)
        return all(new > old for new, old in zip(now, before, strict=True))

    return await _until(go_on, seconds)


async def _settle(fleets: Sequence[Fleet]) -> None:
    """Wait until nothing is missing, or nothing is handled any more."""

    def is_whole() -> bool:
        return not any(tally.lost for fleet in fleets for tally in fleet.tallies.values())

    seen, since = _handled(fleets), time.monotonic()
    while not is_whole() and time.monotonic() - since < STANDSTILL_SECONDS:
        await asyncio.sleep(LOOK_SECONDS)
        if _handled(fleets) != seen:
            seen, since = _handled(fleets), time.monotonic()


async def _kill_each(cluster: Any, fleets: Sequence[Fleet], seconds: float, rounds: int) -> None:
    for number in range(rounds):
        await cluster.nodes[number % len(cluster.nodes)].kill()
        # That is how long a fault lasts.
        await asyncio.sleep(seconds)
        await cluster.recover()
        await _all_go_on(fleets, BACK_SECONDS)


async def measure(
    cluster: Any, balancing: Any, names: Sequence[str], seconds: float, rounds: int
) -> list[Fleet]:
    """Kill `rounds` nodes in turn, for `seconds` each, under a load of the subjects `names`."""
    async with AsyncExitStack() as stack:
        fleets: list[Fleet] = []
        for name in names:
            vhost = await cluster.new_virtual_host()
            # One each: its turns are not taken by the connections of others.
            balancer = await stack.enter_async_context(balancing(cluster.addresses()))
            url = str(balancer.url(f"amqp://guest:guest@balancer/{vhost}"))
            fleets.append(Fleet(name, SUBJECTS[name], url))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        try:
            for fleet in fleets:
                fleet.start(tasks)
            if not await _all_go_on(fleets, START_SECONDS):
                raise click.ClickException(f"not all works: handled {_handled(fleets)}")
            for fleet in fleets:
                fleet.count_anew()
            await _kill_each(cluster, fleets, seconds, rounds)
            for fleet in fleets:
                fleet.stop("call")
            await _settle(fleets)
        finally:
            for fleet in fleets:
                fleet.stop("call", "work")
    return fleets


def _print(console: Console, title: str, fleets: Sequence[Fleet]) -> None:
    table = Table(title=title)
    for column in ("", "kind", "confirmed", "lost", "doubled", "refused", "call gap", "run gap"):
        table.add_column(column, justify="left" if column in {"", "kind"} else "right")
    for fleet in fleets:
        for kind, tally in fleet.tallies.items():
            table.add_row(
                fleet.subject.title,
                kind,
                f"{len(tally.confirmed):,}",
                f"{tally.lost:,}",
                f"{tally.doubled:,}",
                f"{tally.refused.total():,}",
                f"{tally.calls.longest:.1f} s",
                f"{tally.runs.longest:.1f} s",
            )
    console.print(table)
    for fleet in fleets:
        refused = {kind: dict(tally.refused) for kind, tally in fleet.tallies.items()}
        console.print(f"{fleet.subject.title}: refused {refused}, ended {dict(fleet.ended)}")


async def _run(names: Sequence[str], seconds: float, rounds: int) -> list[Fleet]:
    # The tests know how to run a cluster of their own.
    sys.path.append(str(ROOT / "tests" / "support"))
    cluster = import_module("rabbitmq_cluster").new_cluster()
    try:
        await cluster.launch()
        balancing = import_module("tcp_balancer").balancing
        return await measure(cluster, balancing, names, seconds, rounds)
    finally:
        cluster.remove()


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(SUBJECTS)))
@click.option("--seconds", default=10.0, show_default=True, help="How long a node is away.")
@click.option("--rounds", default=3, show_default=True, help="How many nodes are killed in turn.")
def main(*, names: Sequence[str], seconds: float, rounds: int) -> None:
    """Compare NAMES, or all of them, on one cluster of three nodes."""
    console = Console(width=None if os.isatty(1) else 110)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}"
    fleets = asyncio.run(_run(names or list(SUBJECTS), seconds, rounds))
    _print(console, f"{rounds} nodes killed in turn, {seconds:g} s each; {machine}", fleets)


if __name__ == "__main__":
    main()
