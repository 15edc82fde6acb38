"""A connection that is opened again whenever it is lost, for as long as it is wanted."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Final

from eventmesh.brokers.rabbitmq.amqp.connection import Address, AmqpConnection
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


Prepare = Callable[[AmqpConnection], Awaitable[None]]
"""Makes a new connection ready for use, before anybody gets it."""


class ReconnectingConnection:
    """One supervised connection. `run` opens it, again and again; others wait for it.

    `failure` is why there is no connection. `closed` says that there will be none any more, because
    `run` has ended.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        prepare: Prepare | None = None,
        *,
        retry_refused_login: bool = True,
    ) -> None:
        """With `retry_refused_login` a refused user or virtual host is tried again until it exists.

        Without it, whoever waits for the connection is told at once.
        """
        self.failure = "it was not opened yet"
        self.closed = False
        self._address = address
        self._name = name
        self._prepare = prepare
        self._retry_refused_login = retry_refused_login
        self._refusal: AccessDenied | None = None
        self._current: AmqpConnection | None = None
        self._changed = asyncio.Event()

    @property
    def current(self) -> AmqpConnection | None:
        """The open connection, if there is one now."""
        connection = self._current
        return None if connection is None or connection.closed.done() else connection

    @property
    def unavailable_reason(self) -> str:
        """What to tell whoever needs a connection while there is none."""
        return f"there is no connection to RabbitMQ: {self.failure}"

    async def wait_connected(self) -> AmqpConnection:
        """The open connection, once there is one. The caller limits the wait.

        Raises BrokerUnavailable when there will be none any more, and AccessDenied when the broker
        does not let us in and the link is not patient.
        """
        while (connection := self.current) is None:
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

    async def _hold(self, connection: AmqpConnection) -> float:
        """Offer the connection until it ends, and return after how many seconds that was."""
        _log.info("%s: connected to %r", self._name, self._address)
        opened = asyncio.get_running_loop().time()
        self.failure = ""
        self._current = connection
        self._changed.set()
        try:
            self._report(await asyncio.shield(connection.closed))
        finally:
            self._current = None
            await connection.close()
        return asyncio.get_running_loop().time() - opened

    async def _open(self) -> AmqpConnection | None:
        self._refusal = None
        try:
            connection = await connect(self._address, self._name)
        except InvocationError as error:
            if isinstance(error, AccessDenied) and not self._retry_refused_login:
                self._refuse(error)
            else:
                self._report(str(error))
            return None
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except InvocationError as error:
            self._report(str(error))
            await connection.close()
            return None
        except BaseException:
            connection.fail("it is not wanted any more")
            raise
        return connection

    def _refuse(self, error: AccessDenied) -> None:
        # Not logged: whoever waits raises it.
        self.failure = str(error)
        self._refusal = error
        self._changed.set()

    def _report(self, failure: str) -> None:
        # Once a reason, not once an attempt: a broker that is away for an hour fills no log.
        if failure != self.failure:
            _log.warning("%s: %s; trying again until it works", self._name, failure)
        self.failure = failure
