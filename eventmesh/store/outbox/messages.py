"""What the outbox holds: messages as rows, and the transport that keeps them until the commit."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Row, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.abc import Transport
from eventmesh.model.broker import MAX_HEADERS_BYTES
from eventmesh.model.errors import DeclarationError, FunctionNotFound, PayloadInvalid
from eventmesh.model.event import ATTRIBUTE_PREFIX
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message, check_size
from eventmesh.model.result import Result
from eventmesh.model.topology import Route, parse_destination, to_subscribers
from eventmesh.model.value import value
from eventmesh.store.tables import LANES, MAX_KEY, outbox

MAX_MESSAGES: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""What one transaction may send, in messages and in bytes of their bodies."""

_LOCK_SPACE: Final = 0x656D6F62
_LOCKS: Final = 256
"""Locks that the keys of a service share: so few that one transaction can take all of them."""

_PROPERTIES: Final = ("id", "content_type", "trigger", "caller", "type", "principal")


@value
class Outgoing:
    """A message that waits for the commit. `destination` is empty for an event."""

    destination: str
    message: Message
    delay: float


class Capture:
    """Carries `request` at once, and keeps what is stored for the commit."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._size = 0
        self.kept: list[Outgoing] = []

    async def request(self, function: str, message: Message) -> Result:
        return await self._transport.request(function, message)

    async def send(self, destination: str, message: Message, delay: float) -> None:
        try:
            parse_destination(destination)
        except DeclarationError as error:
            raise FunctionNotFound(destination, str(error)) from None
        self._keep(Outgoing(destination, message, delay))

    async def emit(self, event: Message, delay: float) -> None:
        self._keep(Outgoing("", event, delay))

    def _keep(self, outgoing: Outgoing) -> None:
        message = outgoing.message
        check_size(message)
        headers = sum(
            len(name.encode()) + len(text.encode()) + 6 for name, text in message.headers.items()
        )
        if headers > MAX_HEADERS_BYTES:
            raise PayloadInvalid(
                f"the headers have {headers:,} bytes, the limit is {MAX_HEADERS_BYTES:,}: send "
                "them in the payload"
            )
        self._size += len(message.body)
        if len(self.kept) >= MAX_MESSAGES or self._size > MAX_BYTES:
            raise DeclarationError(
                f"one transaction sends at most {MAX_MESSAGES:,} messages of {MAX_BYTES:,} bytes "
                "together: do the work in several invocations"
            )
        self.kept.append(outgoing)


def build_rows(
    kept: Sequence[Outgoing], service: str, key: str, now: float
) -> list[dict[str, Any]]:
    """Return the rows of the messages of one transaction, in their order."""
    own = f"run:{new_id()}"
    return [_build_row(each, service, key, own, now) for each in kept]


def _build_row(outgoing: Outgoing, service: str, key: str, own: str, now: float) -> dict[str, Any]:
    message = outgoing.message
    subject = message.headers.get(f"{ATTRIBUTE_PREFIX}subject", "")
    order_key = key_text(f"key:{key}" if key else f"subject:{subject}" if subject else own)
    properties: dict[str, Any] = {name: getattr(message, name) for name in _PROPERTIES}
    properties["headers"] = dict(message.headers)
    return {
        "service": service,
        "lane": hash_of(order_key) % LANES,
        "order_key": order_key,
        "destination": outgoing.destination,
        "properties": orjson.dumps(properties).decode(),
        "body": message.body,
        "size": len(message.body),
        "stored": now,
        "due": now + outgoing.delay,
        "attempts": 0,
    }


def key_text(key: str) -> str:
    """Return what stands for a key in a column: itself, or a hash if it does not fit in there."""
    if len(key) <= MAX_KEY and "\0" not in key:
        return key
    return f"sha256:{hashlib.sha256(key.encode(errors='replace')).hexdigest()}"


def hash_of(key: str) -> int:
    """Return 32 bits that are the same for a key in every process."""
    return int.from_bytes(hashlib.sha256(key.encode(errors="replace")).digest()[:4])


async def store_rows(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, so that the order of their ids is that of commits for each of their keys.

    On PostgreSQL ids become visible in another order than they are drawn in. So whoever draws one
    for a key that others share holds a lock until its commit is visible; call it last.
    """
    if connection.dialect.name == "postgresql":
        locks = sorted(
            {
                hash_of(f"{row['service']}\n{row['order_key']}") % _LOCKS
                for row in rows
                if not row["order_key"].startswith("run:")
            }
        )
        if locks:
            # In the order of their numbers, in every transaction: two never wait for each other.
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(:space, n) FROM unnest(CAST(:n AS int[])) n"),
                {"space": _LOCK_SPACE, "n": locks},
            )
    await connection.execute(insert(outbox), list(rows))


@value
class StoredMessage:
    """A row of the outbox, to be published."""

    id: int
    service: str
    order_key: str
    route: Route | None
    message: Message
    delay: float
    attempts: int


def read_row(row: Row[Any], now: float) -> StoredMessage:
    """Return the message of a row as it is to be published at `now`.

    Its age counts from then, or from when it is due: a broker that was away makes nothing too old.
    The route is None if there is none by its destination's name.
    """
    properties: dict[str, Any] = orjson.loads(row.properties)
    delay = max(row.due - now, 0.0)
    message = Message(body=row.body, timestamp=now + delay, **properties)
    try:
        route = (
            parse_destination(row.destination) if row.destination else to_subscribers(message.type)
        )
    except DeclarationError:
        route = None
    return StoredMessage(row.id, row.service, row.order_key, route, message, delay, row.attempts)
