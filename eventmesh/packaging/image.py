"""The image of a service: its Dockerfile, and the other files that the build needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distributions, metadata
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.packaging.wheel import write_wheel
from eventmesh.targets.parse import Target

TEMPLATES: Final = files("eventmesh.packaging") / "template"

LOCK: Final = "requirements.lock"
"""The file with the hashes of what an image installs, beside constraints.txt."""

_APP: Final = "app.py"

_PLAIN: Final = re.compile(r"[\w.][\w.+-]*")
"""Names without a special meaning in a Dockerfile, a compose file or a TARGET."""

_FROM_WHEEL: Final = "COPY vendor vendor"
"""Outside a clone of eventmesh: installs the wheel that lies beside the service."""

_FROM_SOURCE: Final = """\
COPY pyproject.toml README.md LICENSE ./
COPY eventmesh eventmesh
RUN --mount=type=cache,target=/var/cache/pip \\
    pip --quiet wheel . --no-deps --wheel-dir vendor"""
"""In a clone of eventmesh: builds the wheel from the source there."""


@value
class Image:
    """What one image is built from.

    `folder` has the service's code, its requirements.txt and its Dockerfile. `file` is the module
    in it that `eventmesh run` runs, perhaps with one `attribute`.
    """

    folder: Path
    file: Path
    attribute: str = ""

    @property
    def name(self) -> str:
        """The folder's name as a valid image name: lower-case letters, digits, and '-' between."""
        return image_name(self.folder.name)

    @property
    def context(self) -> Path:
        """The folder that is sent to the engine: the service's, or the clone of eventmesh."""
        return _clone(self.folder) or self.folder

    @property
    def argument(self) -> str:
        """The target of `eventmesh run` in the image, where the code is in /app."""
        within = self.file.relative_to(self.folder)
        path = Path(self.folder.name) if within == Path(_APP) else self.folder.name / within
        return f"{path}:{self.attribute}" if self.attribute else str(path)

    @property
    def dockerfile(self) -> Path:
        """The path of the Dockerfile, whether or not it exists."""
        return self.folder / "Dockerfile"


def image_for_target(target: Target) -> Image:
    """Return the image of a target.

    Raises SettingsError for a target that is not a file or folder, or whose name has characters
    with a special meaning for Docker.
    """
    if not isinstance(target.module, Path):
        raise SettingsError(
            f"{target.text} is a module, and images are built from folders: name its file, or the "
            "folder with its app.py"
        )
    return _check_image(Image(target.folder, target.module, target.attribute))


def image_for_new_service(folder: Path) -> Image:
    """Return the image of a service that is yet to be written to a folder.

    Raises SettingsError as `image_for_target` does.
    """
    return _check_image(Image(folder.resolve(), folder.resolve() / _APP))


def _check_image(image: Image) -> Image:
    """Return the same image. Names above its context are in no Dockerfile, so any is allowed."""
    above = image.folder.parent if image.context == image.folder else image.context
    for name in image.file.relative_to(above).parts:
        if not _PLAIN.fullmatch(name):
            raise SettingsError(
                f"no image can be built from the name {name!r}: rename it, with only letters, "
                "digits, '_', '-', '.' and '+', and no '-' or '+' at the beginning"
            )
    return image


def check_image_names(images: Iterable[Image]) -> None:
    """Raise SettingsError if images of two folders would have the same name."""
    folders: dict[str, Path] = {}
    for image in images:
        other = folders.setdefault(image.name, image.folder)
        if other != image.folder:
            raise SettingsError(
                f"the images of {other} and {image.folder} would both be named {image.name!r}, and "
                "one would replace the other: rename one of the folders"
            )


def image_name(text: str) -> str:
    """Return a valid name of an image or a compose project."""
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-") or "service"


def extras_argument(extras: Sequence[str]) -> str:
    """Return extras of eventmesh as they stand behind its name: "[jwt,otel]".

    Raises SettingsError for one that there is not.
    """
    known = metadata("eventmesh").get_all("Provides-Extra") or []
    unknown = [extra for extra in extras if extra not in known]
    if unknown:
        raise SettingsError(
            f"eventmesh has no extra {unknown[0]!r}: there are {', '.join(sorted(known))}"
        )
    return f"[{','.join(sorted(set(extras)))}]" if extras else ""


def dockerfile_fields(image: Image) -> Mapping[str, str]:
    """Return the values of the variables in the template of a Dockerfile."""
    inside = image.folder.relative_to(image.context)
    return {
        "source": "./" if inside == Path() else f"{inside.as_posix()}/",
        "place": image.folder.name,
        "argument": image.argument,
        "eventmesh": _FROM_WHEEL if image.context == image.folder else _FROM_SOURCE,
    }


def render_template(template: str, fields: Mapping[str, str]) -> str:
    """Return the text of a template with its variables filled in."""
    return Template((TEMPLATES / f"{template}.tmpl").read_text(encoding="utf-8")).substitute(fields)


def write_missing_files(image: Image) -> Iterator[Path]:
    """Write the files that are missing to build an image, and yield each file written.

    Only the wheel is overwritten: it is always that of this eventmesh.
    """
    texts: dict[str, Callable[[], str]] = {
        "Dockerfile": lambda: render_template("Dockerfile", dockerfile_fields(image)),
        "requirements.txt": lambda: render_template("requirements.txt", {}),
    }
    if image.context == image.folder:
        texts |= {
            ".dockerignore": lambda: render_template(".dockerignore", {}),
            "constraints.txt": _installed_versions,
        }
    for name, text in texts.items():
        file = image.folder / name
        if not file.exists():
            file.write_text(text(), encoding="utf-8")
            yield file
    if image.context == image.folder:
        yield write_wheel(image.folder / "vendor")


def _installed_versions() -> str:
    """Return the exact versions of all installed packages, as pip's constraints."""
    pins = {
        f"{package.name}=={package.version}"
        for package in distributions()
        if package.name != "eventmesh"
    }
    return "".join(f"{pin}\n" for pin in sorted(pins, key=str.lower))


def _clone(folder: Path) -> Path | None:
    """Return the clone of eventmesh that a folder lies in; None if it lies in none."""
    mark = Path("eventmesh", "packaging", "template", "Dockerfile.tmpl")
    return next(
        (
            parent
            for parent in folder.parents
            if (parent / mark).is_file() and (parent / "pyproject.toml").is_file()
        ),
        None,
    )
