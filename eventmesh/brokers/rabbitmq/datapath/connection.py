"""A connection that is opened again whenever it is lost, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Final

from eventmesh.brokers.rabbitmq.amqp.connection import Address, Connection
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError

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
    """One supervised connection. `run` opens it, again and again; others wait for it.

    `trouble` is why there is no connection. `closed` says that there will be none any more, because
    `run` has ended.
    """

    def __init__(
        self, address: Address, name: str, prepare: Prepare | None = None, *, patient: bool = True
    ) -> None:
        """One that is `patient` waits for a user or virtual host that is refused to be created.

        Otherwise whoever waits for the connection is told at once.
        """
        self.trouble = "it was not opened yet"
        self.closed = False
        self._address = address
        self._name = name
        self._prepare = prepare
        self._patient = patient
        self._refusal: AccessDenied | None = None
        self._connection: Connection | None = None
        self._changed = asyncio.Event()

    @property
    def connection(self) -> Connection | None:
        """The open connection, if there is one now."""
        connection = self._connection
        return None if connection is None or connection.closed.done() else connection

    @property
    def absence(self) -> str:
        """What to tell whoever needs a connection while there is none."""
        return f"there is no connection to RabbitMQ: {self.trouble}"

    async def wait_connected(self) -> Connection:
        """The open connection, once there is one. The caller limits the wait.

        Raises BrokerUnavailable when there will be none any more, and AccessDenied when the broker
        does not let us in and the link is not patient.
        """
        while (connection := self.connection) is None:
            if self.closed:
                raise BrokerUnavailable("the connection to RabbitMQ is closed")
            if self._refusal is not None:
                raise self._refusal
            self._changed.clear()
            await self._changed.wait()
        return connection

    async def run(self) -> None:
        """Keep the connection open until cancelled."""
        waits = backoff()
        try:
            while True:
                connection = await self._open()
                if connection is not None and await self._hold(connection) > LONGEST_WAIT:
                    waits = backoff()
                await asyncio.sleep(next(waits))
        finally:
            self.closed = True
            self._changed.set()

    async def _hold(self, connection: Connection) -> float:
        """Offer the connection until it ends, and return after how many seconds that was."""
        _log.info("%s: connected to %r", self._name, self._address)
        opened = asyncio.get_running_loop().time()
        self.trouble = ""
        self._connection = connection
        self._changed.set()
        try:
            self._say(await asyncio.shield(connection.closed))
        finally:
            self._connection = None
            await connection.close()
        return asyncio.get_running_loop().time() - opened

    async def _open(self) -> Connection | None:
        self._refusal = None
        try:
            connection = await connect(self._address, self._name)
        except InvocationError as error:
            if isinstance(error, AccessDenied) and not self._patient:
                self._refuse(error)
            else:
                self._say(str(error))
            return None
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except InvocationError as error:
            self._say(str(error))
            await connection.close()
            return None
        except BaseException:
            connection.fail("it is not wanted any more")
            raise
        return connection

    def _refuse(self, error: AccessDenied) -> None:
        # Not logged: whoever waits raises it.
        self.trouble = str(error)
        self._refusal = error
        self._changed.set()

    def _say(self, trouble: str) -> None:
        # Once a reason, not once an attempt: a broker that is away for an hour fills no log.
        if trouble != self.trouble:
            _log.warning("%s: %s; trying again until it works", self._name, trouble)
        self.trouble = trouble
