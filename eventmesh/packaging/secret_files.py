"""The secrets of a mesh in containers: files, which a compose file hands to those who need them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

BROKER_URL: Final = "broker_url"
"""The file with the URL of RabbitMQ, user and password included: EVENTMESH_BROKER_FILE."""

RABBITMQ_CONF: Final = "rabbitmq.conf"
"""The file with the same user and password in the form in which RabbitMQ reads them."""

_USER: Final = "eventmesh"


def write_secrets(folder: Path) -> Iterator[Path]:
    """Write the secrets, with a new random password, unless they are there; give each file.

    The folder is for its owner alone. The files are for all, because in containers others read
    them, to whom compose gives no more than the file.
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
