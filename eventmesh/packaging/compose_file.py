"""Writing compose files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.compose import Resources, Unit, compose_document
from eventmesh.packaging.external_mesh import read_mesh
from eventmesh.packaging.image import image_for_target, image_name
from eventmesh.packaging.secret_files import write_secrets
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services

_HEADER: Final = """\
# Made by `eventmesh export compose`; yours to change. `eventmesh build` makes what it builds from.

"""


def compose_text(
    targets: Sequence[Target], folder: Path, resources: Resources, beside: Path | None
) -> str:
    """The text of the compose file of these targets, to lie in a folder.

    Raises SettingsError, and what importing the targets raises.
    """
    # What a module prints while it is imported is not what was asked for.
    with redirect_stdout(sys.stderr):
        units = [Unit(image_for_target(target), load_services([target])) for target in targets]
    mesh = None if beside is None else read_mesh(beside)
    place = folder.resolve()
    document = compose_document(units, place, image_name(place.name), resources, mesh)
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_compose(text: str, file: Path, *, with_secrets: bool) -> list[Path]:
    """Write it to a file, and the secrets it needs beside it; returns all that was written.

    Raises SettingsError if the file is there already.
    """
    if file.exists():
        raise SettingsError(
            f"{file} is there already, and nothing was written: remove it, or name another file"
        )
    secrets = list(write_secrets(file.parent / "secrets")) if with_secrets else []
    file.write_text(text, encoding="utf-8")
    return [file, *secrets]


class _Dumper(yaml.SafeDumper):
    """Writes what stands twice twice: names for it would have to be invented."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's interface
        return True
