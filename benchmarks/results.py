"""What a run measured: kept, printed, and compared."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.processes import Figures
from benchmarks.scenario import Scenario

OURS: Final = "eventmesh"
WHOLE_FROM: Final = 100
"""Figures from here on are shown without decimals."""


class Results:
    """The figures of one scenario by subject, round by round, and which were left out and why."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._figures: dict[str, dict[str, dict[int, float]]] = {}
        self._reasons: dict[str, str] = {}

    def add(self, number: int, subject: str, figures: Figures) -> None:
        of_subject = self._figures.setdefault(subject, defaultdict(dict))
        for name, figure in figures.items():
            of_subject[name][number] = figure

    def leave_out(self, subject: str, reason: str) -> None:
        """Name a subject that could not be measured; it is tried again in the next round."""
        self._reasons[subject] = reason

    def print(self, console: Console) -> None:
        units = self._scenario.units
        table = Table(
            self._scenario.title, *(head for unit in units.values() for head in (unit, "spread"))
        )
        for subject, title in self._scenario.subjects.items():
            figures = self._figures.get(subject)
            if figures:
                table.add_row(
                    title,
                    *(cell for unit in units for cell in _cells(list(figures[unit].values()))),
                )
        console.print(table)
        for subject, reason in self._reasons.items():
            console.print(
                f"not measured: {self._scenario.subjects[subject]}: {reason}", markup=False
            )

    def ratios(self) -> Iterator[tuple[str, str, list[float]]]:
        """Titles of figure and peer, and how many times the peer's our figure is, by round.

        A round in which one of the two could not be measured, or the peer's is 0, has no ratio.
        """
        ours = self._figures.get(OURS, {})
        for name, unit in self._scenario.units.items() if ours else ():
            for subject, figures in self._figures.items():
                both = [each for each in ours[name] if figures[name].get(each)]
                if subject != OURS and both:
                    ratios = [ours[name][number] / figures[name][number] for number in both]
                    yield unit, self._scenario.subjects[subject], ratios

    def data(self) -> object:
        """All of it as JSON has it."""
        return {"figures": self._figures, "not measured": self._reasons}


def print_ratios(console: Console, results: Sequence[Results]) -> None:
    """One table of all comparisons."""
    table = Table("eventmesh compared", "figure", "eventmesh / peer", "spread")
    for result in results:
        for unit, peer, ratios in result.ratios():
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            table.add_row(peer, unit, f"{median(ratios):.2f}", spread)
    if table.row_count:
        console.print(table)


def write_json(path: Path, machine: str, results: dict[str, Results]) -> None:
    """Every figure of every round."""
    data = {name: result.data() for name, result in results.items()}
    path.write_text(json.dumps({"machine": machine, "scenarios": data}, indent=2) + "\n")


def _cells(figures: Sequence[float]) -> tuple[str, str]:
    return _number(median(figures)), f"{_number(min(figures))} to {_number(max(figures))}"


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= WHOLE_FROM else f"{figure:.2f}"
