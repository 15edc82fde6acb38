"""Tells the relays of other processes that something was committed: PostgreSQL's LISTEN and NOTIFY.

It is a hint: it may be lost, and polling alone is enough. It is sent after the commit and in a
transaction of its own, because the commits of transactions that notify wait for each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import text

from eventmesh.aio.clock import Clock, sleep
from eventmesh.store.database import Database

_CHANNEL: Final = "eventmesh_outbox"

RECONNECT_SECONDS: Final = 5.0
"""How long after its connection was lost a relay listens again."""

_log: Final = logging.getLogger(__name__)


class Hints:
    """The hints of one database. Behind a pooler, and on SQLite, there are none."""

    def __init__(self, database: Database, clock: Clock, wake: Callable[[], object]) -> None:
        """`wake` is called in the event loop for each hint, also for one of this process."""
        self._database = database
        self._clock = clock
        self._wake = wake
        self.available = database.is_postgresql and not database.url.pooler

    async def send(self) -> None:
        """Tell all relays. Raises StoreUnavailable."""
        if self.available:
            async with self._database.begin() as connection:
                await connection.execute(text("SELECT pg_notify(:c, '')"), {"c": _CHANNEL})

    async def listen(self) -> None:
        """Call `wake` for each hint, for ever, on a connection of its own."""
        while self.available:
            try:
                await self._listen_once()
            except Exception as error:  # noqa: BLE001 - polling is enough meanwhile
                _log.debug("the hints of the outbox cannot be listened to", exc_info=error)
            await sleep(self._clock, RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        lost = asyncio.Event()

        def end(_: object) -> None:
            lost.set()

        def hint(*_: object) -> None:
            self._wake()

        connection: Any = await self._database.connect_driver()
        try:
            connection.add_termination_listener(end)
            await connection.add_listener(_CHANNEL, hint)
            # What was committed before it listened.
            self._wake()
            await lost.wait()
        finally:
            connection.terminate()
