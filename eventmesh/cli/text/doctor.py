"""Prints what the doctor found."""

from __future__ import annotations

from collections.abc import Sequence

import click
from rich.table import Table

from eventmesh.cli.text.output import add_row, print_table
from eventmesh.doctor.checks import Finding
from eventmesh.doctor.permissions import TriedRight
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


def print_rights(tried: Sequence[TriedRight], *, everything: bool) -> None:
    """Print the rights that differ from the code, or `everything`, and how many do not."""
    shown = [right for right in tried if everything or right.verdict != "OK"]
    if shown:
        table = Table("", "Right", "What", "What to do")
        for right in shown:
            style = "green" if right.verdict == "OK" else "red"
            add_row(table, right.verdict, right.right, right.what, right.advice, style=style)
        print_table(table)
    rest = len(tried) - len(shown)
    if rest:
        click.echo(f"{rest} {'other ' if shown else ''}rights are OK.")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("", "Subject", "What", "What to do")
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        row = (finding.level, finding.subject, finding.what, finding.advice)
        add_row(table, *row, style=styles[finding.level])
    return table
