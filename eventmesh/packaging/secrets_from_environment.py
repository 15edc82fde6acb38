"""Runs eventmesh where secrets come as variables, and not as files: `python -m` this module.

Amazon ECS hands a secret over in the environment alone. Here each becomes a file, as on every other
engine, and eventmesh is run in place of this process, without the variables.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAMES: Final = "EVENTMESH_SECRETS"
"""The names of the files, with commas between them; the secret of the n-th is in `variable(n)`."""

FOLDER: Final = Path("/run/secrets")


def variable(number: int) -> str:
    """Return the variable with the text of the n-th secret, from 1."""
    return f"{NAMES}_{number}"


def write_secret_files(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Write the secrets of an environment into a folder, and return what remains of it.

    Only the user of the process can read the files. Raises SystemExit, with a message that names
    the secret and never shows it, for one that is not there or cannot be written.
    """
    rest = dict(environment)
    names = rest.pop(NAMES, "")
    for number, name in enumerate(names.split(",") if names else (), 1):
        text = rest.pop(variable(number), None)
        if text is None:
            raise SystemExit(
                f"the secret {name!r} is not there: {NAMES} names it, and {variable(number)} is "
                "not set"
            )
        _write(folder, name, text)
    return rest


def _write(folder: Path, name: str, text: str) -> None:
    if "/" in name or name in ("", ".", ".."):
        raise SystemExit(f"{NAMES} has {name!r}, which is no name of a file")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        descriptor = os.open(folder / name, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), 0o600)
            opened.write(text)
    except OSError as error:
        raise SystemExit(
            f"the secret {name!r} cannot be written into {folder}: {error.strerror}; the container "
            "needs a tmpfs there"
        ) from None


if __name__ == "__main__":
    command = ["eventmesh", *sys.argv[1:]]
    os.execvpe(command[0], command, write_secret_files(os.environ, FOLDER))  # noqa: S606 - no shell
