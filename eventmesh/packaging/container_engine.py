"""The container engine: Docker or Podman, whichever answers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Final

from eventmesh.model.errors import EventmeshError, SettingsError
from eventmesh.packaging.image import Image, extras_argument

DOCKER: Final = "docker"
_PODMAN: Final = "podman"

_ANSWER_SECONDS: Final = 15.0
_WORK_SECONDS: Final = 3600.0
"""Seconds that one build or push may take."""


class EngineError(EventmeshError):
    """The engine could not build or push an image."""


class ContainerEngine:
    """A container engine, by its command. Its output goes where our own output goes."""

    def __init__(self, command: str) -> None:
        self._command = command

    def build(
        self, image: Image, tag: str, base: str | None = None, extras: Sequence[str] = ()
    ) -> None:
        """Build an image, on the base image of its Dockerfile or on another. Raises EngineError."""
        self._run(*build_arguments(self._command, image, tag, base, extras))

    def run_python(self, image: str, script: str, given: str) -> str:
        """Run a script by the Python of an image, and return what it prints. Raises EngineError."""
        command = ("run", "--rm", "--interactive", "--entrypoint", "python", image, "-c", script)
        try:
            ended = subprocess.run(  # noqa: S603 - docker or podman, no shell
                (self._command, *command),
                input=given,
                stdout=subprocess.PIPE,
                text=True,
                timeout=_WORK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{self._command} run was stopped: it took over {_WORK_SECONDS:g} s"
            ) from error
        if ended.returncode:
            raise EngineError(
                f"Python in {image} ended with code {ended.returncode}; its output is above"
            )
        return ended.stdout

    def push(self, tag: str, remote: str) -> None:
        """Push an image under another name. Raises EngineError if that fails."""
        self._run("tag", tag, remote)
        self._run("push", remote)

    def _run(self, *arguments: str) -> None:
        # Docker's old builder does not know cache mounts.
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
        try:
            code = _call((self._command, *arguments), environment)
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"{self._command} {arguments[0]} was stopped: it took over {_WORK_SECONDS:g} s"
            ) from error
        if code:
            raise EngineError(
                f"{self._command} {arguments[0]} failed with code {code}; its output is above"
            )


def build_arguments(
    command: str, image: Image, tag: str, base: str | None = None, extras: Sequence[str] = ()
) -> Sequence[str]:
    """Return the arguments with which an engine's command builds an image."""
    # Podman writes no health check into an image of its own format.
    image_format = ("--format", "docker") if command == _PODMAN else ()
    on = () if base is None else ("--build-arg", f"BASE={base}")
    more = ("--build-arg", f"EXTRAS={extras_argument(extras)}") if extras else ()
    files = ("--file", str(image.dockerfile), "--tag", tag, str(image.context))
    return ("build", *image_format, *on, *more, *files)


def detect_engine() -> ContainerEngine:
    """Return the first engine that answers. Raises SettingsError with each reason if none does."""
    reasons: list[str] = []
    for command in (DOCKER, _PODMAN):
        reason = _unavailable_reason(command)
        if reason is None:
            return ContainerEngine(command)
        reasons.append(f"{command}: {reason}")
    raise SettingsError(
        f"no container engine answers ({'; '.join(reasons)}): start Docker, install Docker or "
        "Podman, or write the files for a build elsewhere with --prepare"
    )


def _call(command: Sequence[str], environment: dict[str, str]) -> int:
    return subprocess.run(command, env=environment, timeout=_WORK_SECONDS, check=False).returncode  # noqa: S603 - docker or podman, no shell


def _unavailable_reason(command: str) -> str | None:
    """Return why an engine cannot be used; None if it can."""
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
