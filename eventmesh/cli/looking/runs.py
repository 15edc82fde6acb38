"""`eventmesh ps --running`: which runs go on."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.table import Table

from eventmesh.cli.looking.mesh import look_at_mesh
from eventmesh.cli.text.output import add_row, format_age, print_json, print_table
from eventmesh.console.state.members import run_members
from eventmesh.model.runs import MAX_TOLD, Run, Sight
from eventmesh.presence import Instance


async def show_runs(url: str, wait: float, function: str, *, as_json: bool) -> None:
    """Print the runs that go on, the oldest first; of one function, if it is named.

    Raises as `look_at_mesh`.
    """
    async with look_at_mesh(url, "ps", wait) as source:
        sights = await source.look(seconds=0.0, most=MAX_TOLD)
        instances = dict(source.instances())
    runs = sorted(
        (
            (sight.instance, run)
            for sight in sights
            for run in sight.runs
            if not function or run.function == function
        ),
        key=lambda each: each[1].since,
    )
    if as_json:
        print_json([run_members(*each) for each in runs])
    elif runs:
        print_table(runs_table(runs, instances))
    else:
        click.echo("No run goes on.")
    _warn_of_silent(sights, instances)


def runs_table(runs: Sequence[tuple[str, Run]], instances: dict[str, Instance]) -> Table:
    """Build a table with a row for each run."""
    table = Table("Function", "Id", "For", "Attempt", "Trigger", "Caller", "Process")
    now = time.time()
    for instance, run in runs:
        add_row(
            table,
            run.function,
            run.id,
            format_age(now - run.since),
            str(run.attempt),
            run.trigger,
            run.caller,
            _place(instances.get(instance), instance),
        )
    return table


def _place(instance: Instance | None, id: str) -> str:
    return id if instance is None else f"{instance.host} {instance.pid}"


def _warn_of_silent(sights: Sequence[Sight], instances: dict[str, Instance]) -> None:
    answered = {sight.instance for sight in sights}
    for id, instance in instances.items():
        if instance.functions and not instance.stand_in and id not in answered:
            click.echo(
                f"{_place(instance, id)} did not answer: it hangs, or has an older version",
                err=True,
            )
    if skipped := sum(sight.skipped for sight in sights):
        click.echo(f"{skipped} more runs go on: a process tells of {MAX_TOLD}", err=True)
