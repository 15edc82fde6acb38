"""The tables of docs/scaling.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.scaling.model import Layout, Outcome, find_end, find_need, peak_of, simulate
from benchmarks.scaling.recorded import Recorded
from eventmesh.scaling.rule import MAX_REPLICAS, Rule

PAGE: Final = Path(__file__).parents[2] / "docs" / "scaling.md"
SIZES: Final = (1, 10, 100, 1000)
RULE: Final = Rule(1, MAX_REPLICAS)
"""The rule as it is where nobody says more, but without a bound that would end the growth."""

_PART: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render_tables(recorded: Recorded) -> dict[str, str]:
    """Return the tables by the names that the page calls them."""
    return {
        "recorded": _table(("one of each", "median", "spread"), _recorded(recorded)),
        "ends": _table(("what ends", "at messages a second", "replicas"), _ends(recorded)),
        "needs": _table(
            (
                "replicas",
                "arrivals/s at the peak",
                "queues",
                "nodes, or",
                "clusters of three",
            ),
            _needs(recorded),
        ),
        "outcomes": _table(
            (
                "replicas",
                "carried by",
                "most at once",
                "longest wait, s",
                "replica hours",
                "by Little's law alone",
                "not begun in the end",
            ),
            map(_outcome, outcomes(recorded)),
        ),
    }


def fill_page(text: str, tables: Mapping[str, str]) -> str:
    """Return a page with its tables in place of those that it has."""
    return _PART.sub(lambda found: f"{found[1]}{tables[found[2]]}{found[3]}", text)


def outcomes(recorded: Recorded) -> Iterator[Outcome]:
    """Yield what becomes of each size on one queue and, where that is too little, on enough."""
    one = Layout("one queue", recorded.queue)
    for size in SIZES:
        yield simulate(recorded, one, size, RULE)
        if peak_of(recorded, size, RULE) > recorded.queue:
            need = find_need(recorded, size, RULE)
            if need.nodes == 1:
                enough = Layout(f"{need.queues} queues of one node", recorded.node)
            else:
                rate = need.clusters * recorded.own_machines
                enough = Layout(_count(need.clusters, "cluster"), rate)
            yield simulate(recorded, enough, size, RULE)


def _recorded(recorded: Recorded) -> Iterator[Sequence[str]]:
    for name, what, text in (
        ("start", "a replica is ready after", "{:.1f} s"),
        ("duration", f"a run, with {recorded.slots} at once", "{:.3f} s"),
        ("queue", "passes one queue", "{:,.0f}/s"),
        ("node", "passes one node, by four queues", "{:,.0f}/s"),
        ("cluster", "passes three nodes on the machine of one", "{:,.0f}/s"),
    ):
        lowest, highest = (text.format(each) for each in recorded.spreads[name])
        yield what, text.format(getattr(recorded, name)), f"{lowest} to {highest}"


def _ends(recorded: Recorded) -> Iterator[Sequence[str]]:
    for name, rate in (
        ("the first queue", recorded.queue),
        ("the first node", recorded.node),
        ("the first cluster of three, each node on a machine of its own", recorded.own_machines),
    ):
        yield name, f"{rate:,.0f}", f"{find_end(recorded, rate, RULE):,}"


def _needs(recorded: Recorded) -> Iterator[Sequence[str]]:
    for size in SIZES:
        need = find_need(recorded, size, RULE)
        numbers = (need.queues, need.nodes, need.clusters)
        yield f"{size:,}", f"{need.peak:,.0f}", *map(str, numbers)


def _outcome(outcome: Outcome) -> Sequence[str]:
    return (
        f"{outcome.replicas:,}",
        outcome.layout.name,
        f"{outcome.most:,}",
        f"{outcome.waiting:,.0f}" if outcome.waiting else "under 1",
        f"{outcome.replica_hours:,.1f}",
        f"{outcome.needed_hours:,.1f}",
        f"{outcome.unfinished:,.0f}",
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
