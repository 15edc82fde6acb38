"""Docker or Podman, whichever is there."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

import click

from eventmesh.model.errors import SettingsError
from eventmesh.packaging.image import Image

_ENGINES: Final = ("docker", "podman")

_ANSWER_SECONDS: Final = 15.0
_WORK_SECONDS: Final = 3600.0
"""How long one build or push may take."""


class Engine:
    """A container engine, by its command. What it prints goes where our own output goes."""

    def __init__(self, command: str) -> None:
        self._command = command

    def build(self, image: Image, tag: str) -> None:
        """Build an image. Raises ClickException if that fails, as does `push`."""
        # Podman writes no health check into an image of its own format.
        form = ("--format", "docker") if self._command == "podman" else ()
        files = ("--file", str(image.dockerfile), "--tag", tag, str(image.context))
        self._run("build", *form, *files)

    def push(self, tag: str, remote: str) -> None:
        """Push an image under another name."""
        self._run("tag", tag, remote)
        self._run("push", remote)

    def _run(self, *arguments: str) -> None:
        # Docker's own old builder knows no cache mounts.
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        try:
            code = _call((self._command, *arguments), environment)
        except subprocess.TimeoutExpired as error:
            raise click.ClickException(
                f"{self._command} {arguments[0]} was stopped: it took over {_WORK_SECONDS:g} s"
            ) from error
        if code:
            raise click.ClickException(
                f"{self._command} {arguments[0]} failed with code {code}; what it said is above"
            )


def _call(command: Sequence[str], environment: dict[str, str]) -> int:
    return subprocess.run(command, env=environment, timeout=_WORK_SECONDS, check=False).returncode  # noqa: S603 - docker or podman, no shell


def detect() -> Engine:
    """The first engine that answers. Raises SettingsError with what each said if none does."""
    said: list[str] = []
    for command in _ENGINES:
        complaint = _complaint(command)
        if complaint is None:
            return Engine(command)
        said.append(f"{command}: {complaint}")
    raise SettingsError(
        f"no container engine answers ({'; '.join(said)}): start Docker, or install Docker or "
        "Podman"
    )


def _complaint(command: str) -> str | None:
    """Why an engine cannot be used; None if it can."""
    try:
        ended = subprocess.run(  # noqa: S603 - docker or podman, no shell
            (command, "version"),
            capture_output=True,
            text=True,
            timeout=_ANSWER_SECONDS,
            check=False,
        )
    except OSError as error:
        return "not installed" if isinstance(error, FileNotFoundError) else str(error)
    except subprocess.TimeoutExpired:
        return f"no answer within {_ANSWER_SECONDS:g} s"
    if ended.returncode:
        return ended.stderr.strip().rpartition("\n")[2] or f"code {ended.returncode}"
    return None
