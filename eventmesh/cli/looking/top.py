"""`eventmesh top`: the slowest functions, and how often they run and fail."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

import click
from rich.table import Table

from eventmesh.cli.looking.mesh import look_at_mesh
from eventmesh.cli.text.output import add_row, print_json, print_table
from eventmesh.model.work import NOTHING, Work, find_quantile
from eventmesh.presence import Instance
from eventmesh.presence.instance import INTERVAL

SORTS: Final = ("time", "p95", "rate", "errors")


async def show_top(url: str, seconds: float, sort: str, *, as_json: bool) -> None:
    """Print what functions did in the last `seconds`, those that took most first.

    Processes tell what they have done each `INTERVAL` seconds, so that it takes twice as long at
    least. With 0 it is what they did since they began. Raises as `look_at_mesh`.
    """
    async with look_at_mesh(url, "top", 1.0) as source:
        before: Mapping[str, Mapping[str, Work]] = {}
        if seconds:
            before = _read(source.instances())
            await asyncio.sleep(max(seconds, 2 * INTERVAL))
        after = _read(source.instances())
        waiting = _sum_counts(instance.waiting for instance in source.instances().values())
        running = _sum_counts(instance.running for instance in source.instances().values())
    rows = list_top(before, after, max(seconds, 2 * INTERVAL) if seconds else 0.0)
    rows = [
        row | {"running": running[row["function"]], "waiting": waiting[row["function"]]}
        for row in rows
    ]
    rows.sort(key=lambda row: row[sort] or 0.0, reverse=True)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(_table(rows))
    else:
        click.echo("Nothing ran.")


def list_top(
    before: Mapping[str, Mapping[str, Work]],
    after: Mapping[str, Mapping[str, Work]],
    seconds: float,
) -> list[dict[str, Any]]:
    """Return a row for each function of which runs ended; both are by process, then by function.

    A process that began in between counts with all that it has done.
    """
    total: dict[str, Work] = defaultdict(lambda: NOTHING)
    for instance, functions in after.items():
        for name, work in functions.items():
            done = work.since(before.get(instance, {}).get(name, NOTHING))
            total[name] = total[name].plus(done)
    return [_row(name, work, seconds) for name, work in total.items() if work.ended]


def _row(name: str, work: Work, seconds: float) -> dict[str, Any]:
    quantiles = {
        f"p{round(share * 100)}": None if math.isinf(bound) else bound
        for share in (0.5, 0.95, 0.99)
        for bound in (find_quantile(work.durations, share),)
    }
    return {
        "function": name,
        "ended": work.ended,
        "failed": work.failed,
        "rate": work.ended / seconds if seconds else None,
        "errors": work.failed / work.ended,
        "time": work.seconds,
        "mean": work.seconds / work.ended,
        **quantiles,
    }


def _read(instances: Mapping[str, Instance]) -> dict[str, dict[str, Work]]:
    return {id: dict(instance.work) for id, instance in instances.items()}


def _sum_counts(counts: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    total: dict[str, int] = defaultdict(int)
    for each in counts:
        for name, count in each.items():
            total[name] += count
    return total


def _table(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = Table(
        "Function", "Ended", "A second", "Failed", "Mean", "p50", "p95", "p99", "Running", "Waiting"
    )
    for row in rows:
        add_row(
            table,
            row["function"],
            str(row["ended"]),
            "" if row["rate"] is None else f"{row['rate']:.1f}",
            f"{row['errors']:.1%}",
            f"{row['mean'] * 1000:.1f} ms",
            *(_bound(row[name]) for name in ("p50", "p95", "p99")),
            str(row["running"]),
            str(row["waiting"]),
        )
    return table


def _bound(seconds: float | None) -> str:
    return "over 15 min" if seconds is None else f"≤ {seconds * 1000:g} ms"
