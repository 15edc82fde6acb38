"""Prints what the doctor found."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table

from eventmesh.cli.output import add_row, print_table
from eventmesh.doctor.checks import Finding
from eventmesh.doctor.report import Report


def print_report(report: Report, *, everything: bool) -> None:
    """Print the findings that are not "ok", or `everything`, and how many others there are."""
    shown = report.findings if everything else report.noteworthy
    if shown:
        print_table(_table(shown))
    rest = len(report.findings) - len(shown)
    if rest:
        checks = f"{rest} {'other ' if shown else ''}check{'s' if rest > 1 else ''}"
        click.echo(f"{checks} passed.")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("", "Subject", "What", "What to do")
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        row = (finding.level, finding.subject, finding.what, finding.advice)
        add_row(table, *row, style=styles[finding.level])
    return table
