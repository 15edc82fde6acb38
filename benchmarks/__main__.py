"""Measure everything in one run, interleaved, and print medians, spreads and ratios."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from benchmarks.broker import brokers
from benchmarks.durable.database import one_server
from benchmarks.peers import PEERS
from benchmarks.processes import LeftOut
from benchmarks.results import Results, print_ratios, write_json
from benchmarks.scenario import Bench, Scenario
from benchmarks.scenarios import SCENARIOS


def _measure(scenario: Scenario, bench: Bench, rounds: int, without: Sequence[str]) -> Results:
    """Each subject once a round, so that a slow minute of the machine hits all alike."""
    results = Results(scenario)
    for number in range(rounds):
        for subject in scenario.subjects:
            if subject in without:
                results.leave_out(subject, "left out by --without")
                continue
            try:
                results.add(number, subject, scenario.measure(bench, subject))
            except LeftOut as reason:
                results.leave_out(subject, str(reason))
    return results


@click.command()
@click.argument("groups", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option("--rounds", default=3, show_default=True, help="How often each is measured.")
@click.option(
    "--rows", default=1_000_000, show_default=True, help="Rows in the tables of the group crowded."
)
@click.option("--quick", is_flag=True, help="Few messages: shows that it works, not how fast.")
@click.option(
    "--without", multiple=True, type=click.Choice(list(PEERS)), help="A peer to leave out."
)
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write all figures there.")
def main(
    *,
    groups: Sequence[str],
    rounds: int,
    rows: int,
    quick: bool,
    without: Sequence[str],
    file: Path | None,
) -> None:
    """Measure GROUPS, or all of them."""
    console = Console(width=None if os.isatty(1) else 110)
    machine = (
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.machine()}, "
        f"medians of {rounds} rounds"
    )
    console.print(machine)
    results: dict[str, Results] = {}
    with brokers() as (url, amqp1_url, cluster_url), one_server() as database:
        bench = Bench(url, amqp1_url, cluster_url, quick, rows, database)
        for group in groups or SCENARIOS:
            results[group] = _measure(SCENARIOS[group], bench, rounds, without)
            results[group].print(console)
    print_ratios(console, list(results.values()))
    if file is not None:
        write_json(file, machine, results)


if __name__ == "__main__":
    main()
