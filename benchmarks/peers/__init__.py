"""The subjects: one module each, imported only by its own process.

A module has a function for each role it plays, which takes a `Job`:

- `fill` stores orders in its queue (where it is missing, `bare` does it: the body is plain JSON);
- `consume` handles them, and reports the rate;
- `serve` answers requests until it is killed, and reports that it is ready;
- `request` asks such a server, and reports the median time and the rate;
- `publish` stores orders with confirmations, and reports the rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Peer:
    """A peer's title, its roles, and whether it speaks AMQP 1.0 (RabbitMQ 4) only."""

    title: str
    roles: frozenset[str]
    amqp1: bool = False


def _peer(title: str, *roles: str, amqp1: bool = False) -> Peer:
    return Peer(title, frozenset(roles), amqp1)


PEERS: Final[Mapping[str, Peer]] = {
    "eventmesh": _peer("eventmesh", "fill", "consume", "request", "publish"),
    "eventmesh_queue": _peer("eventmesh, a classic queue", "consume", "publish"),
    "faststream": _peer("FastStream", "consume", "request", "publish"),
    "nameko": _peer("Nameko", "consume", "request", "publish"),
    "celery": _peer("Celery, solo", "fill", "consume", "publish"),
    "dramatiq": _peer("Dramatiq, 8 threads", "fill", "consume", "publish"),
    "taskiq": _peer("Taskiq-aio-pika", "fill", "consume", "publish"),
    "repid": _peer("Repid (AMQP 1.0)", "fill", "consume", amqp1=True),
    "aio_pika": _peer("raw aio-pika", "consume", "request", "publish"),
    "aiormq": _peer("raw aiormq", "consume", "request", "publish"),
    "bare": _peer("bare asyncio protocol", "fill", "consume", "request", "publish"),
}


def playing(role: str) -> list[str]:
    """The names of the peers that have this role."""
    return [name for name, peer in PEERS.items() if role in peer.roles]
