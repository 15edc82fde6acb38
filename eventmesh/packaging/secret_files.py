"""The secrets of a mesh in containers: files that a compose file gives to the containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from eventmesh.model.errors import SettingsError

BROKER_URL: Final = "broker_url"
"""The file with the URL of RabbitMQ, with user and password: EVENTMESH_BROKER_FILE."""

RABBITMQ_CONF: Final = "rabbitmq.conf"
"""The file with the same user and password in RabbitMQ's own format."""

_USER: Final = "eventmesh"
_IGNORE: Final = ".gitignore"


def write_secrets(folder: Path) -> Iterator[Path]:
    """Write the secrets with a new random password, unless they exist; yield each file written.

    Only the owner can read the folder, whoever made it. All users can read the files, because the
    users inside containers are others, and compose gives them only the file. Git ignores them.

    The broker's user is no administrator: RabbitMQ makes its default user one otherwise
    (https://www.rabbitmq.com/docs/access-control#default-state). Raises SettingsError where a link
    is in a file's place.
    """
    password = token_urlsafe(24)
    texts = {
        BROKER_URL: f"amqp://{_USER}:{password}@rabbitmq:5672/\n",
        RABBITMQ_CONF: f"default_user = {_USER}\n"
        f"default_pass = {password}\n"
        "default_user_tags.administrator = false\n",
    }
    if any((folder / name).exists() for name in texts):
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / _IGNORE).exists():
        _write_new(folder / _IGNORE, "*\n", 0o644)
    for name, text in texts.items():
        _write_new(folder / name, text, 0o444)
        yield folder / name


def _write_new(file: Path, text: str, mode: int) -> None:
    """Write a file that nobody else made before, such as a link to another place."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsError(
            f"{file} is there already, and no secret was written to it: remove it, and try again"
        ) from None
    with os.fdopen(descriptor, "w") as opened:
        opened.write(text)
        os.fchmod(opened.fileno(), mode)
