"""`eventmesh new`: a service to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from eventmesh.model.errors import SettingsError
from eventmesh.model.topology import check_service
from eventmesh.packaging.image import (
    TEMPLATES,
    dockerfile_fields,
    image_for_new_service,
    render_template,
)

_SUFFIX: Final = ".tmpl"


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder to write it to.  [default: NAME, in the current folder]",
)
def command(name: str, directory: Path | None) -> None:
    """Write a service NAME that runs, its test, and what its image is made of.

    Nothing that is there already is overwritten.
    """
    folder = directory or Path(name)
    texts = _texts(check_service(name), folder)
    taken = [file for file in texts if (folder / file).exists()]
    if taken:
        raise SettingsError(
            f"{folder / taken[0]} is there already, and nothing was written: choose another name, "
            "or another folder with --directory"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / file}")
    click.echo(f"\nRun it with: eventmesh dev {folder}")


def _texts(name: str, folder: Path) -> dict[str, str]:
    """The text of each file, by its name."""
    fields = {"name": name, **dockerfile_fields(image_for_new_service(folder))}
    templates = (one.name.removesuffix(_SUFFIX) for one in TEMPLATES.iterdir())
    return {template: render_template(template, fields) for template in templates}
