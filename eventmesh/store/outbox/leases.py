"""Which relay publishes which lanes of a service's outbox: leases, by the database's clock."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, TypeAlias

from sqlalchemy import delete, func, literal, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from eventmesh.aio.clock import Clock
from eventmesh.store.database import Database
from eventmesh.store.tables import LANES, lanes, relays

LEASE_SECONDS: Final = 5.0
"""How long a relay that has died keeps its lanes from the others."""

RENEW_SECONDS: Final = 1.5
"""How often a lease is renewed."""

Lane: TypeAlias = tuple[str, int]
"""A service, and the number of a part of its outbox."""


class Leases:
    """The lanes that one relay holds, shared evenly among all that run."""

    def __init__(
        self, database: Database, services: Sequence[str], owner: str, clock: Clock
    ) -> None:
        self._database = database
        self._services = services
        self._owner = owner
        self._clock = clock
        self._prepared = False

    async def hold(self) -> tuple[Collection[Lane], Collection[Lane]]:
        """Renew what is held, take a fair part of what is free, and return all that is held.

        Beside it are those of them that others should have: release them soon. Raises
        StoreUnavailable.
        """
        async with self._database.begin() as connection:
            if not self._prepared:
                await self._prepare(connection)
            now = await self._now(connection)
            shares = await self._announce(connection, now)
            held = await self._renew(connection, now)
            for service, share in shares.items():
                free = share - sum(1 for each in held if each[0] == service)
                if free > 0:
                    held |= await self._take(connection, service, free, now)
        self._prepared = True
        return held, _find_surplus(held, shares)

    async def release(self, given: Collection[Lane], *, leave: bool = False) -> None:
        """Leave these lanes to others; with `leave` the relay ends. Raises StoreUnavailable."""
        async with self._database.begin() as connection:
            for service, lane in given:
                await connection.execute(
                    update(lanes)
                    .where(
                        lanes.c.service == service,
                        lanes.c.lane == lane,
                        lanes.c.owner == self._owner,
                    )
                    .values(owner="", expires=0.0)
                )
            if leave:
                await connection.execute(delete(relays).where(relays.c.owner == self._owner))

    async def _now(self, connection: AsyncConnection) -> float:
        if not self._database.is_postgresql:
            return self._clock.now()  # All who use the file are on this machine.
        now = await connection.execute(text("SELECT extract(epoch FROM clock_timestamp())::float8"))
        return float(now.scalar_one())

    async def _prepare(self, connection: AsyncConnection) -> None:
        rows = [
            {"service": service, "lane": lane, "owner": "", "expires": 0.0}
            for service in self._services
            for lane in range(LANES)
        ]
        await connection.execute(self._insert(lanes).values(rows).on_conflict_do_nothing())

    async def _announce(self, connection: AsyncConnection, now: float) -> Mapping[str, int]:
        """Tell the others that this relay runs, and return its share of each service's lanes."""
        rows = [
            {"service": service, "owner": self._owner, "expires": now + LEASE_SECONDS}
            for service in sorted(self._services)
        ]
        insert = self._insert(relays).values(rows)
        await connection.execute(
            insert.on_conflict_do_update(
                index_elements=["service", "owner"], set_={"expires": insert.excluded.expires}
            )
        )
        # Long after they have ended: whoever is slow for a moment stays among those that share.
        await connection.execute(delete(relays).where(relays.c.expires < now - 60.0))
        running = await connection.execute(
            select(relays.c.service, func.count())
            .where(relays.c.service.in_(self._services), relays.c.expires > now)
            .group_by(relays.c.service)
        )
        return {service: -(-LANES // count) for service, count in running.all()}

    async def _renew(self, connection: AsyncConnection, now: float) -> set[Lane]:
        held = await connection.execute(
            update(lanes)
            .where(lanes.c.owner == self._owner, lanes.c.service.in_(self._services))
            .values(expires=now + LEASE_SECONDS)
            .returning(lanes.c.service, lanes.c.lane)
        )
        return {(service, lane) for service, lane in held}

    async def _take(
        self, connection: AsyncConnection, service: str, count: int, now: float
    ) -> set[Lane]:
        free = (
            select(lanes.c.lane)
            .where(lanes.c.service == service, lanes.c.expires < now, lanes.c.owner != self._owner)
            # First what nobody has held for longest. As long as processes die, those that count
            # include dead ones, and not all lanes are held: no lane may be left out for ever.
            .order_by(lanes.c.expires, lanes.c.lane)
            .limit(count)
            .with_for_update(skip_locked=True)
        )
        numbers = [lane for (lane,) in await connection.execute(free)]
        await connection.execute(
            update(lanes)
            .where(lanes.c.service == service, lanes.c.lane.in_(numbers))
            .values(owner=literal(self._owner), expires=now + LEASE_SECONDS)
        )
        return {(service, lane) for lane in numbers}

    def _insert(self, table: Any) -> Any:
        return (postgresql if self._database.is_postgresql else sqlite).insert(table)


def _find_surplus(held: Collection[Lane], shares: Mapping[str, int]) -> Collection[Lane]:
    surplus: set[Lane] = set()
    for service, share in shares.items():
        own = sorted(lane for name, lane in held if name == service)
        surplus.update((service, lane) for lane in own[share:])
    return surplus
