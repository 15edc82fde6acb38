"""The image of a service: its Dockerfile, and what else has to be there to build it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from eventmesh.cli.targets import Target
from eventmesh.cli.wheel import write_wheel
from eventmesh.errors import SettingsError
from eventmesh.value import value

TEMPLATES: Final = files("eventmesh.cli") / "template"

_APP: Final = "app.py"

_FROM_WHEEL: Final = "COPY vendor vendor"
"""A service of its own: beside it lies a wheel of the eventmesh that built it."""

_FROM_SOURCE: Final = """\
COPY pyproject.toml README.md LICENSE ./
COPY eventmesh eventmesh
RUN --mount=type=cache,target=/var/cache/pip \\
    pip --quiet wheel . --no-deps --wheel-dir vendor"""
"""A service in a clone of eventmesh: the wheel is made of what lies there."""


@value
class Image:
    """What one image is made of.

    `folder` has the service's code, its requirements.txt and its Dockerfile, and `file` is the
    module in it that `eventmesh run` is to run, perhaps with one `attribute`.
    """

    folder: Path
    file: Path
    attribute: str = ""

    @property
    def name(self) -> str:
        """The folder's name as image names are: small letters, digits, and '-' between them."""
        return image_name(self.folder.name)

    @property
    def context(self) -> Path:
        """The folder that is sent to the engine: the service's own, or a clone of eventmesh."""
        return _clone(self.folder) or self.folder

    @property
    def argument(self) -> str:
        """The target that `eventmesh run` is given in the image, where the code is in /app."""
        within = self.file.relative_to(self.folder)
        path = Path(self.folder.name) if within == Path(_APP) else self.folder.name / within
        return f"{path}:{self.attribute}" if self.attribute else str(path)

    @property
    def dockerfile(self) -> Path:
        """Where the Dockerfile is, or should be."""
        return self.folder / "Dockerfile"


def image_of(target: Target) -> Image:
    """The image of a target. Raises SettingsError for one that is no file or folder."""
    if not isinstance(target.module, Path):
        raise SettingsError(
            f"{target.text} is a module, and images are made of folders: name its file, or the "
            "folder with its app.py"
        )
    return Image(target.folder, target.module, target.attribute)


def image_of_new(folder: Path) -> Image:
    """The image of a service that is yet to be written to a folder."""
    return Image(folder.resolve(), folder.resolve() / _APP)


def image_name(text: str) -> str:
    """A name as images and compose projects may have it."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "service"


def dockerfile_fields(image: Image) -> Mapping[str, str]:
    """What stands in the template of a Dockerfile in place of its variables."""
    inside = image.folder.relative_to(image.context)
    return {
        "source": "./" if inside == Path() else f"{inside.as_posix()}/",
        "place": image.folder.name,
        "argument": image.argument,
        "eventmesh": _FROM_WHEEL if image.context == image.folder else _FROM_SOURCE,
    }


def rendered(template: str, fields: Mapping[str, str]) -> str:
    """The text of a file that is made from a template."""
    return Template((TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(fields)


def complete(image: Image) -> Iterator[Path]:
    """Write what is missing to build an image, and give each file that was written.

    Nothing is overwritten but the wheel of eventmesh, which is always that of this eventmesh.
    """
    texts: dict[str, Callable[[], str]] = {
        "Dockerfile": lambda: rendered("Dockerfile", dockerfile_fields(image)),
        "requirements.txt": lambda: rendered("requirements.txt", {}),
    }
    if image.context == image.folder:
        texts |= {
            ".dockerignore": lambda: rendered(".dockerignore", {}),
            "constraints.txt": _installed,
        }
    for name, text in texts.items():
        file = image.folder / name
        if not file.exists():
            file.write_text(text(), encoding="utf-8")
            yield file
    if image.context == image.folder:
        yield write_wheel(image.folder / "vendor")


def _installed() -> str:
    """The exact versions of all that is installed here, as pip's constraints."""
    pins = {f"{one.name}=={one.version}" for one in distributions() if one.name != "eventmesh"}
    return "".join(f"{pin}\n" for pin in sorted(pins, key=str.lower))


def _clone(folder: Path) -> Path | None:
    """The clone of eventmesh that a folder lies in, if it does."""
    mark = Path("eventmesh", "cli", "template", "Dockerfile.tmpl")
    return next(
        (
            parent
            for parent in folder.parents
            if (parent / mark).is_file() and (parent / "pyproject.toml").is_file()
        ),
        None,
    )
