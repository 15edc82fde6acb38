"""What every broker carries, and what one is found to be when it is inspected.

The limits are those of RabbitMQ, the narrowest broker there is an adapter for. The embedded broker
has them too, so that what works in a test works on RabbitMQ. `MAX_BODY` is in `message`.
"""

from __future__ import annotations

import re
from typing import Final

from eventmesh.model.value import value

MAX_NAME_BYTES: Final = 255
"""Bytes of a queue's name, a routing key or an id: a short string (AMQP 0-9-1, 4.2.5.3)."""

QUEUE_NAME: Final = re.compile(rf"[A-Za-z0-9_.:@#,/+ -]{{1,{MAX_NAME_BYTES}}}")
"""A queue's name: these are the characters that RabbitMQ's Python clients (pamqp) declare."""

MAX_HEADERS_BYTES: Final = 124 * 1024
"""Bytes of all headers of a message: with its properties they fit one frame, which no message may
exceed (AMQP 0-9-1, section 4.2.6). RabbitMQ's frames are 128 KiB."""

MIN_HEADERS_BYTES: Final = 4096
"""Bytes of properties and headers that a broker takes however it is configured: the smallest frame
that a peer may ask for (AMQP 0-9-1, section 4.2.3)."""


@value
class BrokerCommands:
    """The commands with which an operator mends a broker; a queue's name goes behind the first two.

    They are quoted in advice, and not run.
    """

    delete_queue: str
    purge_queue: str
    list_consumers: str


@value
class BrokerInfo:
    """What a broker says of itself.

    `missing` names what it cannot do of what is needed. `disabled` says what of it is switched off,
    and `enable` how to switch it on. `tested` says whether its version is among `tested_versions`,
    such as "3.10 to 4.3".
    """

    product: str
    version: str
    cluster: str
    missing: tuple[str, ...]
    tested: bool
    tested_versions: str
    commands: BrokerCommands
    disabled: str = ""
    enable: str = ""


@value
class ArgumentDifference:
    """An argument of a queue that differs from the one in the code."""

    argument: str
    found: str
    wanted: str


@value
class QueueInfo:
    """A queue as it is: waiting messages, consumers, and how it differs from the code.

    `away` is why nobody can use it now, such as that the node which has it is down; else "".
    """

    messages: int
    consumers: int
    difference: ArgumentDifference | None
    away: str = ""


@value
class LostMessages:
    """How many delayed messages had no queue to go to when they were due, and where they are."""

    queue: str
    count: int


_AUTHORITY_END: Final = re.compile("[/?#]|$")


def split_hosts(url: str) -> list[str]:
    """Return one URL for each host of `scheme://user:password@a:5672,b:5672/path`.

    Everything but the host and its port is the same in each. Nothing is checked.
    """
    scheme, separator, rest = url.partition("://")
    authority = rest[: _find_end(rest)]
    user, at, hosts = authority.rpartition("@")
    before, after = f"{scheme}{separator}{user}{at}", rest[len(authority) :]
    return [f"{before}{host}{after}" for host in hosts.split(",")]


def _find_end(rest: str) -> int:
    found = _AUTHORITY_END.search(rest)
    return len(rest) if found is None else found.start()
