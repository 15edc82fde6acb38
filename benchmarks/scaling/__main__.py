"""Print the tables of docs/scaling.md, or write them into it."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.scaling.page import PAGE, fill_page, render_tables
from benchmarks.scaling.recorded import RECORDED, read_recorded


@click.command()
@click.option(
    "--recorded",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    default=RECORDED,
    help="The figures of the groups replica and passing, as --json writes them.",
)
@click.option("--write", is_flag=True, help="Write them into docs/scaling.md.")
def main(*, recorded: Path, write: bool) -> None:
    """Compute what 1 to 1,000 replicas do from recorded figures of one."""
    tables = render_tables(read_recorded(recorded))
    if write:
        PAGE.write_text(fill_page(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")
        return
    for name, table in tables.items():
        click.echo(f"{name}\n\n{table}")


if __name__ == "__main__":
    main()
