"""What an operator does with a store: its tables, and the messages that are stuck in its outbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import orjson
from sqlalchemy import Row, delete, select, update

from eventmesh.aio.clock import SystemClock
from eventmesh.model.errors import BrokerUnavailable, SettingsError
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.value import value
from eventmesh.store.advice import explained
from eventmesh.store.database import Database
from eventmesh.store.executions.keeper import ExecutionStore
from eventmesh.store.migrate import SchemaStatus, check_known, migrate, read_status
from eventmesh.store.outbox.queries import count_pending
from eventmesh.store.tables import LANES, lanes, outbox, relays
from eventmesh.store.urls import read_store_url

LISTED: Final = 100
"""Messages that are listed unless more are asked for."""


@value
class PendingMessage:
    """A message of the outbox. Times are seconds since the epoch.

    `destination` is what `send` was given, or "event:TYPE". With an `error` it was refused
    `attempts` times, and is tried again at `not_before`.
    """

    number: int
    id: str
    service: str
    destination: str
    key: str
    size: int
    stored: float
    attempts: int
    not_before: float | None
    error: str | None


@value
class OutboxSummary:
    """How many messages of a service wait to be published, and since when."""

    service: str
    pending: int
    oldest: float | None


@value
class StoreStatus:
    """The tables of a store, and what waits in its outbox. `place` has no password."""

    place: str
    schema: SchemaStatus
    outbox: Sequence[OutboxSummary]


class StoreAdmin:
    """The store at a URL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def migrate(self) -> SchemaStatus:
        """Bring the tables up to date, and return how they were. Raises as `migrate` does."""
        return await migrate(self._database)

    async def status(self) -> StoreStatus:
        """Describe the store. Raises StoreUnavailable and SettingsError."""
        schema = await read_status(self._database)
        place = self._database.url.shown
        if not schema.current:
            return StoreStatus(place, schema, [])
        async with self._database.begin() as connection:
            rows = await connection.execute(
                select(relays.c.service).union(select(outbox.c.service), select(lanes.c.service))
            )
            services = sorted(rows.scalars())
            every = [(service, lane) for service in services for lane in range(LANES)]
            counts = await count_pending(connection, every)
        return StoreStatus(
            place, schema, [OutboxSummary(service, *counts[service]) for service in services]
        )

    async def list(self, *, failed: bool = False, limit: int = LISTED) -> list[PendingMessage]:
        """Return the oldest messages; with `failed` only those that were refused."""
        await self._check_tables()
        query = select(outbox).order_by(outbox.c.id).limit(limit)
        if failed:
            query = query.where(outbox.c.not_before.is_not(None))
        async with self._database.begin() as connection:
            return [_read(row) for row in await connection.execute(query)]

    async def retry(self, number: int | None = None) -> int:
        """Have a message that was refused, or all, tried again at once; return how many."""
        await self._check_tables()
        change = update(outbox).where(outbox.c.not_before.is_not(None)).values(not_before=0.0)
        if number is not None:
            change = change.where(outbox.c.id == number)
        async with self._database.begin() as connection:
            return int((await connection.execute(change)).rowcount)

    async def discard(self, number: int) -> bool:
        """Drop a message for good; False if there is no such message."""
        await self._check_tables()
        async with self._database.begin() as connection:
            dropped = await connection.execute(delete(outbox).where(outbox.c.id == number))
            return bool(dropped.rowcount)

    async def executions(self) -> ExecutionStore:
        """Return what keeps the executions of all services. Raises SettingsError without tables.

        What a change sends is left to the services that run.
        """
        await self._check_tables()
        return ExecutionStore(
            self._database, "", SystemClock(), _NoTransport(), on_commit=lambda: None
        )

    async def _check_tables(self) -> None:
        schema = await read_status(self._database)
        check_known(self._database, schema)
        if not schema.current:
            raise SettingsError(
                f"the store {self._database.url.shown} has no tables yet: run 'eventmesh store "
                "migrate', or start a service that uses it"
            )


class _NoTransport:
    """Carries nothing: what is sent in a transaction is kept in the outbox."""

    async def request(self, function: str, message: Message) -> Result:
        del message
        raise BrokerUnavailable(f"{function} cannot be called from a store")

    async def send(self, destination: str, message: Message, delay: float) -> None:
        del message, delay
        raise BrokerUnavailable(f"{destination} is sent nothing outside of a transaction")

    async def emit(self, event: Message, delay: float) -> None:
        del delay
        raise BrokerUnavailable(f"{event.type} is not emitted outside of a transaction")


@asynccontextmanager
async def open_admin(url: str) -> AsyncGenerator[StoreAdmin]:
    """Open the store at a URL. Raises SettingsError."""
    database = Database(read_store_url(url))
    try:
        with explained(database):
            yield StoreAdmin(database)
    finally:
        await database.close()


def _read(row: Row[Any]) -> PendingMessage:
    properties: dict[str, Any] = orjson.loads(row.properties)
    return PendingMessage(
        number=row.id,
        id=properties["id"],
        service=row.service,
        destination=row.destination or f"event:{properties['type']}",
        key="" if row.order_key.startswith("run:") else row.order_key,
        size=row.size,
        stored=row.stored,
        attempts=row.attempts,
        not_before=row.not_before,
        error=row.error,
    )
