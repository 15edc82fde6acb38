"""`eventmesh new`: a service to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write to, which becomes a package.  "
    "[default: NAME in the current folder, with '_' for '-']",
)
def command(name: str, directory: Path | None) -> None:
    """Write a service NAME that runs, its test, and the files of its image.

    Existing files are not overwritten.
    """
    from eventmesh.packaging.new_service import default_folder, write_new_service  # noqa: PLC0415

    folder = directory or default_folder(name)
    for file in write_new_service(name, folder):
        click.echo(f"wrote {file}")
    click.echo(f"\nRun it with: eventmesh dev {folder}")
