"""The lock of images: which files they install, by hash."""

from __future__ import annotations

import json
import re
import tomllib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.container_engine import ContainerEngine
from eventmesh.packaging.image import LOCK, Image, extras_argument
from eventmesh.packaging.wheel import write_wheel

MACHINES: Final = ("x86_64", "aarch64")
"""For which kinds of machines a lock has files, unless others are named."""

_SCRIPT: Final = files("eventmesh.packaging") / "lock_in_image.py"
_BASE: Final = re.compile(r"^ARG BASE=(\S+)", re.MULTILINE)
_HEADER: Final = """\
# Written by `eventmesh build --lock`: images install these files and no others.
# For {machines}, and the Python of {base}
"""


def write_locks(
    engine: ContainerEngine,
    images: Sequence[Image],
    base: str | None,
    extras: Sequence[str],
    machines: Sequence[str] = MACHINES,
) -> Iterator[Path]:
    """Write the lock of each build context, with all that its images install; yield each file.

    pip finds the files in the base image, with its Python and its index, in the versions of
    constraints.txt. Raises SettingsError for a Dockerfile that names no base, and EngineError if
    pip finds no wheel of something.
    """
    for context in dict.fromkeys(image.context for image in images):
        those = [image for image in images if image.context == context]
        on = base or _base(those[0])
        request = _request(context, those, extras, machines)
        lines = engine.run_python(on, _SCRIPT.read_text(encoding="utf-8"), json.dumps(request))
        header = _HEADER.format(machines=" and ".join(machines), base=on)
        (context / LOCK).write_text(header + lines, encoding="utf-8")
        yield context / LOCK


def _request(
    context: Path, images: Sequence[Image], extras: Sequence[str], machines: Sequence[str]
) -> dict[str, object]:
    requirements = [
        line
        for image in images
        for line in (image.folder / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    with TemporaryDirectory() as folder:
        wheel = write_wheel(Path(folder))
        content = wheel.read_bytes()
    return {
        "wheel": wheel.name,
        "content": b64encode(content).decode(),
        "extras": extras_argument(extras),
        "requirements": [*requirements, *_for_the_build(context, images)],
        "constraints": (context / "constraints.txt").read_text(encoding="utf-8"),
        "machines": list(machines),
    }


def _for_the_build(context: Path, images: Sequence[Image]) -> list[str]:
    """Return what builds the wheel in a clone of eventmesh."""
    if context == images[0].folder:
        return []
    text = (context / "pyproject.toml").read_text(encoding="utf-8")
    required: list[str] = tomllib.loads(text)["build-system"]["requires"]
    return required


def _base(image: Image) -> str:
    found = _BASE.search(image.dockerfile.read_text(encoding="utf-8"))
    if found is None:
        raise SettingsError(
            f"{image.dockerfile} has no line 'ARG BASE=…': name the image that it builds on, with "
            "--base"
        )
    return found[1]
