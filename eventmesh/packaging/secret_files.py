"""The secrets of a mesh in containers: files that a compose file gives to the containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

BROKER_URL: Final = "broker_url"
"""The file with the URL of RabbitMQ, with user and password: EVENTMESH_BROKER_FILE."""

RABBITMQ_CONF: Final = "rabbitmq.conf"
"""The file with the same user and password in RabbitMQ's own format."""

_USER: Final = "eventmesh"


def write_secrets(folder: Path) -> Iterator[Path]:
    """Write the secrets with a new random password, unless they exist; yield each file written.

    Only the owner can read the folder. All users can read the files, because the users inside
    containers are others, and compose gives them only the file.
    """
    password = token_urlsafe(24)
    texts = {
        BROKER_URL: f"amqp://{_USER}:{password}@rabbitmq:5672/\n",
        RABBITMQ_CONF: f"default_user = {_USER}\ndefault_pass = {password}\n",
    }
    if any((folder / name).exists() for name in texts):
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o444)
        yield folder / name
