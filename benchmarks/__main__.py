"""Measure everything in one run, interleaved, and print medians, spreads and ratios."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import click
from rich.console import Console
from rich.table import Table

from benchmarks import embedded, http

Measurement = Callable[[], float]


def _in_own_process(function: Callable[[str], float], argument: str) -> float:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(function, argument).result()


def _interleaved(
    names: Sequence[str], measure: Callable[[str], float], rounds: int
) -> Mapping[str, list[float]]:
    """Each name measured once a round, so that a slow minute of the machine hits all alike."""
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            rates[name].append(measure(name))
    return rates


def _spread(rates: Sequence[float]) -> str:
    return f"{min(rates):,.0f}..{max(rates):,.0f}"


def _embedded_table(rounds: int) -> Table:
    table = Table("embedded broker, one process", "a second", "spread", title_justify="left")
    rates = _interleaved(
        list(embedded.MEASUREMENTS), lambda name: _in_own_process(embedded.run, name), rounds
    )
    for name, title in embedded.MEASUREMENTS.items():
        table.add_row(title, f"{statistics.median(rates[name]):,.0f}", _spread(rates[name]))
    return table


def _http_table(rounds: int) -> Table:
    names = ["aiohttp", "fastapi", "eventmesh"]
    table = Table("HTTP echo, wrk, 32 connections", "requests a second", "spread", "eventmesh is")
    rates = _interleaved(names, http.run, rounds)
    medians = {name: statistics.median(rates[name]) for name in names}
    for name in names:
        ratio = medians["eventmesh"] / medians[name]
        table.add_row(name, f"{medians[name]:,.0f}", _spread(rates[name]), f"{ratio:.2f} x")
    return table


SUITES = {"embedded": _embedded_table, "http": _http_table}


@click.command()
@click.argument("suites", nargs=-1, type=click.Choice(list(SUITES)))
@click.option("--rounds", default=3, show_default=True, help="How often each is measured.")
def main(suites: Sequence[str], rounds: int) -> None:
    """Measure SUITES, or all of them."""
    console = Console()
    console.print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}, "
        f"medians of {rounds} rounds"
    )
    for suite in suites or SUITES:
        console.print(SUITES[suite](rounds))


if __name__ == "__main__":
    main()
