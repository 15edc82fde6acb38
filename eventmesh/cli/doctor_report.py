"""Telling what is wrong with a mesh."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict

import click
from rich.table import Table

from eventmesh.cli.output import print_json, print_table
from eventmesh.doctor.checks import Finding
from eventmesh.doctor.inspect import examine
from eventmesh.processes.exit_codes import ExitCode
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services


def diagnose(
    targets: Sequence[Target], url: str, wait: float, *, everything: bool, as_json: bool
) -> ExitCode:
    """Look at the mesh on the broker at a URL, print what is found, and return the exit code.

    Raises what importing the targets, and what `examine` raises.
    """
    # What a module prints while it is imported is not what was asked for.
    with redirect_stdout(sys.stderr):
        services = load_services(targets)
    findings = asyncio.run(examine(url, services, wait))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(findings, everything=everything)
    wrong = any(finding.level == "problem" for finding in findings)
    return ExitCode.FAILED if wrong else ExitCode.OK


def _print(findings: Sequence[Finding], *, everything: bool) -> None:
    shown = [finding for finding in findings if everything or finding.level != "ok"]
    if shown:
        print_table(_table(shown))
    well = len(findings) - len(shown)
    if well:
        also = " else" if shown else ""
        click.echo(f"{well} thing{'s' if well > 1 else ''}{also} looked at: all is well.")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("", "Subject", "What", "What to do")
    styles = {"ok": "green", "note": "yellow", "problem": "red"}
    for finding in findings:
        row = (finding.level, finding.subject, finding.what, finding.advice)
        table.add_row(*row, style=styles[finding.level])
    return table
