"""Definitions that RabbitMQ imports: a virtual host, its users and what they may do.

The format is that of https://www.rabbitmq.com/docs/definitions.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from os import urandom
from shlex import quote
from typing import Any, Final

from eventmesh.brokers.rabbitmq.access.permissions import (
    NOTHING,
    Permissions,
    Rights,
    exchanges,
)
from eventmesh.model.topology import EVENTS, PRESENCE

_ALGORITHM: Final = "rabbit_password_hashing_sha256"
_SALT_BYTES: Final = 4
_HERE: Final = '$(dirname "$0")'


def password_hash(password: str, salt: bytes | None = None) -> str:
    """Return the salted SHA-256 of a password, as RabbitMQ keeps it.

    https://www.rabbitmq.com/docs/passwords#computing-password-hash: the salt of four bytes, before
    the digest of salt and password.
    """
    salt = urandom(_SALT_BYTES) if salt is None else salt
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def build_definitions(
    virtual_host: str,
    all_permissions: Sequence[Permissions],
    all_rights: Sequence[Rights],
    passwords: Mapping[str, str],
) -> dict[str, Any]:
    """Return the definitions: no user is an administrator, or has any other tag."""
    made, bindings = exchanges(all_rights)
    made |= {each.exchange: "direct" for each in all_permissions if each.exchange}
    return {
        "vhosts": [{"name": virtual_host}],
        "users": [
            {
                "name": each.user,
                "password_hash": password_hash(passwords[each.user]),
                "hashing_algorithm": _ALGORITHM,
                "tags": [],
                "limits": {},
            }
            for each in all_permissions
        ],
        "permissions": [
            {
                "user": each.user,
                "vhost": virtual_host,
                "configure": each.configure,
                "write": each.write,
                "read": each.read,
            }
            for each in all_permissions
        ],
        "topic_permissions": [
            {
                "user": user,
                "vhost": virtual_host,
                "exchange": exchange,
                "write": write,
                "read": read,
            }
            for user, exchange, write, read in topic_permissions(all_permissions)
        ],
        "policies": [],
        "exchanges": [
            {
                "name": name,
                "vhost": virtual_host,
                "type": kind,
                "durable": True,
                "auto_delete": False,
                "internal": False,
                "arguments": {},
            }
            for name, kind in made.items()
        ],
        "bindings": [
            {
                "source": source,
                "vhost": virtual_host,
                "destination": destination,
                "destination_type": "exchange",
                "routing_key": "",
                "arguments": {},
            }
            for source, destination in bindings
        ],
    }


def topic_permissions(
    all_permissions: Sequence[Permissions],
) -> list[tuple[str, str, str, str]]:
    """Return user, exchange, and the keys to publish and to bind with, for each user.

    Without any a user might use every key of an exchange that it may use.
    """
    return [
        row
        for each in all_permissions
        for row in (
            (each.user, EVENTS, NOTHING, each.patterns),
            (each.user, PRESENCE, ".*", ".*"),
        )
    ]


def control_script(virtual_host: str, all_permissions: Sequence[Permissions]) -> str:
    """Return a shell script that does the same by rabbitmqctl, on a node that has users already.

    A command that reads its input has no option: the rabbitmqctl of RabbitMQ 4 counts its words to
    decide whether it has any input (`maybe_noinput` there), and counts options, too. Definitions
    come from a file, because that of 4.0 waits for ever at the end of its input.
    """
    host = quote(virtual_host)
    lines = [
        "#!/bin/sh",
        "# Written by `eventmesh export broker`. Run it where rabbitmqctl works, from any folder.",
        "set -eu",
        f'cd "{_HERE}"',
        f"rabbitmqctl --silent add_vhost {host} || true",
        "# The exchanges, which no service may declare or delete. They come first: RabbitMQ 4.3",
        "# takes the permissions of a topic exchange only if it is there.",
        "topology=$(mktemp)",
        "trap 'rm -f \"$topology\"' EXIT",
        'cat exchanges.json > "$topology"',
        'chmod 644 "$topology"  # It has no secrets, and another user may run rabbitmqctl.',
        'rabbitmqctl --silent import_definitions "$topology" >/dev/null',
    ]
    for each in all_permissions:
        user = quote(each.user)
        three = " ".join(map(quote, (each.configure, each.write, each.read)))
        lines += [
            f"rabbitmqctl add_user {user} < secrets/{user} >/dev/null 2>&1 ||",
            f"    rabbitmqctl change_password {user} < secrets/{user} >/dev/null",
            f"rabbitmqctl --silent set_user_tags {user}",
            f"rabbitmqctl --silent set_permissions -p {host} {user} {three}",
        ]
    for user, *row in topic_permissions(all_permissions):
        words = " ".join(map(quote, row))
        lines.append(f"rabbitmqctl --silent set_topic_permissions -p {host} {quote(user)} {words}")
    return "\n".join(lines) + "\n"


def to_json(definitions: Mapping[str, Any]) -> str:
    """Return definitions as the text of a file."""
    return json.dumps(definitions, indent=2) + "\n"
