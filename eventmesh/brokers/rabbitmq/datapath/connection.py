"""A connection that is opened again whenever it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.connection_log import ConnectionLog
from eventmesh.brokers.rabbitmq.endpoints import Endpoints
from eventmesh.brokers.rabbitmq.timing import LONGEST_REFUSED_WAIT, STABLE_SECONDS, backoff
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError

Prepare = Callable[[AmqpConnection], Awaitable[None]]
"""Prepares a new connection before it is offered to its users."""


class ReconnectingConnection:
    """One supervised connection: `run` opens it whenever it is lost, and its users wait for it.

    `failure` is why there is no connection. `closed_for_good` says that there will be no more,
    because `run` has ended.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        prepare: Prepare | None = None,
        *,
        log: ConnectionLog | None = None,
        endpoints: Endpoints | None = None,
        retry_refused_login: bool = True,
    ) -> None:
        """Pass the `log` and the `endpoints` of a process with other connections to the broker.

        With `retry_refused_login` a refused login is retried until the user and the virtual host
        exist. Without it, AccessDenied is raised at once in all who wait for the connection.
        """
        self.failure = "it was not opened yet"
        self.closed_for_good = False
        self._address = address
        self._name = name
        self._prepare = prepare
        self._log = log or ConnectionLog(name, address)
        self._log.watch(name)
        self._endpoints = endpoints or Endpoints(address)
        self._retry_refused_login = retry_refused_login
        self._refusal: AccessDenied | None = None
        self._refused = False
        self._current: AmqpConnection | None = None
        self._changed = asyncio.Event()

    @property
    def current(self) -> AmqpConnection | None:
        """The open connection; None if there is none now."""
        connection = self._current
        return None if connection is None or connection.closed.done() else connection

    @property
    def unavailable_reason(self) -> str:
        """Why there is no connection now, as the text of an error."""
        return f"there is no connection to RabbitMQ: {self.failure}"

    async def wait_connected(self) -> AmqpConnection:
        """Return the open connection, once there is one. The caller limits the wait.

        Raises BrokerUnavailable when it is closed for good, and AccessDenied when RabbitMQ refuses
        the login and that is not retried.
        """
        while (connection := self.current) is None:
            if self.closed_for_good:
                raise BrokerUnavailable("the connection to RabbitMQ is closed")
            if self._refusal is not None:
                raise self._refusal
            self._changed.clear()
            await self._changed.wait()
        return connection

    @property
    def has_alternatives(self) -> bool:
        """Whether there are other addresses."""
        return self._endpoints.several

    def leave(self, reason: str) -> None:
        """End the connection, and open the next one at another address, if there is one."""
        connection = self.current
        if connection is not None:
            self._avoid(connection)
            connection.fail(reason)

    def abandon(self, reason: str) -> None:
        """End the connection for good, without waiting for RabbitMQ."""
        self.closed_for_good = True
        if self._current is not None:
            self._current.fail(reason)
        self._changed.set()

    async def run(self) -> None:
        """Keep the connection open until cancelled, or abandoned."""
        waits, refused_waits = backoff(), backoff(LONGEST_REFUSED_WAIT)
        try:
            while not self.closed_for_good:
                connection = await self._open()
                if connection is not None and await self._offer(connection) > STABLE_SECONDS:
                    waits, refused_waits = backoff(), backoff(LONGEST_REFUSED_WAIT)
                refused = connection is None and self._refused
                await asyncio.sleep(next(refused_waits if refused else waits))
        finally:
            self.closed_for_good = True
            self._changed.set()

    async def _offer(self, connection: AmqpConnection) -> float:
        """Offer the connection until it ends, and return how many seconds it lasted."""
        self._log.log_connected(self._name, connection.address)
        opened = asyncio.get_running_loop().time()
        self.failure = ""
        self._current = connection
        self._changed.set()
        try:
            reason = await asyncio.shield(connection.closed)
            if not self.closed_for_good:
                self._fail(BrokerUnavailable(reason))
            if connection.silent:
                self._avoid(connection)
        finally:
            self._current = None
            await connection.close()
        return asyncio.get_running_loop().time() - opened

    async def _open(self) -> AmqpConnection | None:
        self._refusal = None
        self._refused = False
        try:
            connection = await connect(self._address, self._name, self._endpoints)
        except InvocationError as error:
            self._refused = isinstance(error, AccessDenied)
            if isinstance(error, AccessDenied) and not self._retry_refused_login:
                self._refuse(error)
            else:
                self._fail(error)
            return None
        try:
            if self._prepare is not None:
                await self._prepare(connection)
        except InvocationError as error:
            self._fail(error)
            self._avoid(connection)
            await connection.close()
            return None
        except BaseException:
            connection.fail("it is not wanted any more")
            raise
        if self.closed_for_good:
            connection.fail("it is not wanted any more")
            return None
        return connection

    def _avoid(self, connection: AmqpConnection) -> None:
        if connection.endpoint is not None:
            self._endpoints.avoid(connection.endpoint)

    def _refuse(self, error: AccessDenied) -> None:
        # Not logged: it is raised in those who wait.
        self.failure = str(error)
        self._refusal = error
        self._changed.set()

    def _fail(self, error: InvocationError) -> None:
        self.failure = str(error)
        if isinstance(error, AccessDenied):
            self._log.log_refused(self._name, error)
        else:
            self._log.log_lost(self._name, str(error))
