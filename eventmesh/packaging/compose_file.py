"""Renders and writes compose files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

import yaml

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.compose import ContainerSpec, Resources, build_compose
from eventmesh.packaging.external_mesh import read_external_mesh
from eventmesh.packaging.image import image_for_target, image_name
from eventmesh.packaging.secret_files import write_secrets
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services

_HEADER: Final = """\
# Written by `eventmesh export compose`; edit it freely. `eventmesh build` writes the Dockerfiles.

"""


def render_compose(
    targets: Sequence[Target], folder: Path, resources: Resources, beside: Path | None
) -> str:
    """Render the compose file of these targets for a folder.

    Raises SettingsError, and what importing the targets raises.
    """
    # Modules may print while they are imported; that is not the result.
    with redirect_stdout(sys.stderr):
        containers = [
            ContainerSpec(image_for_target(target), load_services([target])) for target in targets
        ]
    mesh = None if beside is None else read_external_mesh(beside)
    folder = folder.resolve()
    document = build_compose(containers, folder, image_name(folder.name), resources, mesh)
    return _HEADER + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def write_compose(text: str, file: Path, *, with_secrets: bool) -> list[Path]:
    """Write it to a file, and its secrets beside it; return all files written.

    Raises SettingsError if the file exists.
    """
    if file.exists():
        raise SettingsError(
            f"{file} exists already, and nothing was written: remove it, or name another file"
        )
    secrets = list(write_secrets(file.parent / "secrets")) if with_secrets else []
    file.write_text(text, encoding="utf-8")
    return [file, *secrets]


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice: aliases would need invented names."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's interface
        return True
