"""A connection that is opened again whenever it is lost, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Final

from eventmesh.brokers.rabbitmq.wire.connection import Address, Connection, connect
from eventmesh.errors import BrokerUnavailable, InvocationError

_log: Final = logging.getLogger("eventmesh.rabbitmq")

FIRST_WAIT: Final = 0.1
LONGEST_WAIT: Final = 15.0
"""Seconds between two attempts to connect: doubled each time, up to this, less a random part."""


def backoff() -> Iterator[float]:
    """Seconds to wait before each further attempt, without end.

    Drawn at random, so that the clients of a broker that comes back do not come back at once.
    """
    for attempt in count():
        wait = min(FIRST_WAIT * 2 ** min(attempt, 16), LONGEST_WAIT)
        yield random.uniform(wait / 2, wait)  # noqa: S311 it spreads load


Prepare = Callable[[Connection], Awaitable[None]]
"""Makes a new connection ready for use, before anybody gets it."""


class Link:
    """One supervised connection. `run` opens it, again and again; others wait for it."""

    def __init__(self, address: Address, name: str, prepare: Prepare | None = None) -> None:
        self._address = address
        self._name = name
        self._prepare = prepare
        self._connection: Connection | None = None
        self._connected = asyncio.Event()
        self._trouble = "it was not opened yet"

    @property
    def connection(self) -> Connection | None:
        """The open connection, if there is one now."""
        return self._connection

    @property
    def trouble(self) -> str:
        """Why there is no connection."""
        return self._trouble

    async def wait_connected(self) -> Connection:
        """The open connection, once there is one. The caller limits the wait."""
        while self._connection is None:
            await self._connected.wait()
        return self._connection

    async def run(self) -> None:
        """Keep the connection open until cancelled."""
        waits = backoff()
        while True:
            connection = await self._open()
            if connection is None:
                await asyncio.sleep(next(waits))
                continue
            waits = backoff()
            try:
                self._connection = connection
                self._connected.set()
                self._trouble = await asyncio.shield(connection.closed)
                _log.warning("%s to %r: %s", self._name, self._address, self._trouble)
            finally:
                self._connection = None
                self._connected.clear()
                await connection.close()

    async def _open(self) -> Connection | None:
        try:
            connection = await connect(self._address, self._name)
        except InvocationError as error:
            self._say(str(error))
            return None
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except BrokerUnavailable as error:
            self._say(str(error))
            await connection.close()
            return None
        except BaseException:
            connection.fail("it is not wanted any more")
            raise
        return connection

    def _say(self, trouble: str) -> None:
        # Once a reason, not once an attempt: a broker that is away for an hour fills no log.
        if trouble != self._trouble:
            _log.warning("%s: %s; trying again until it works", self._name, trouble)
        self._trouble = trouble
