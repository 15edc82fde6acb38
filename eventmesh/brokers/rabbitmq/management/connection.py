"""A connection with aio-pika, for everything that is not on the data path.

aio-pika's robust classes are not used: they declare and consume again by themselves, and miss some
events that end a consumer. Its channels are not used because they do not say why they were closed;
those of aiormq, on which they are built, do.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, cast

from aio_pika import Connection
from aio_pika.connection import make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from aiormq.abc import AbstractChannel, AbstractConnection
from aiormq.connection import TransportFactory
from pamqp.common import FieldTable
from yarl import URL

from eventmesh.aio.tasks import task_group
from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.connection_log import ConnectionLog
from eventmesh.brokers.rabbitmq.endpoints import Endpoint, Endpoints
from eventmesh.brokers.rabbitmq.error_translation import (
    closing_reason,
    translate_connect_error,
    translate_errors,
)
from eventmesh.brokers.rabbitmq.management.tolerant_reader import read_tolerantly
from eventmesh.brokers.rabbitmq.timing import (
    CLOSE_SECONDS,
    CONNECT_SECONDS,
    HEARTBEAT_SECONDS,
    backoff,
)
from eventmesh.model.errors import BrokerUnavailable

read_tolerantly()

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class ManagementConnection:
    """A connection that is opened when it is first needed, and again after it was lost.

    `close` closes it for good; everything then raises BrokerUnavailable. `connection_generation`
    counts the connections that were lost.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        log: ConnectionLog | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        """Pass the `log` and the `endpoints` of a process with other connections to the broker."""
        self._endpoints = endpoints or Endpoints(address)
        self._name = name
        self._log = log or ConnectionLog(name, address)
        self._connection: Connection | None = None
        self._live: AbstractConnection | None = None
        self._transport: asyncio.Transport | None = None
        self._opening = asyncio.Lock()
        self._failure = "it was not opened yet"
        self._dropped = ""
        self.closed_for_good = False
        self.connection_generation = 0

    @property
    def is_open(self) -> bool:
        """Whether there is a connection now."""
        return self._live is not None and not self._live.is_closed

    def check_open(self) -> None:
        """Raise BrokerUnavailable if it is closed."""
        if self.closed_for_good:
            raise BrokerUnavailable(f"{self._name}: the connection to RabbitMQ is closed")

    @asynccontextmanager
    async def channel(self, *, confirms: bool = False) -> AsyncGenerator[AbstractChannel]:
        """Open a channel, and close it on leaving.

        With `confirms`, publishing a mandatory message that cannot be routed raises.
        """
        channel = await self.open_channel(confirms=confirms)
        try:
            yield channel
        finally:
            await self.close_channel(channel)

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel. The caller closes it with `close_channel`."""
        connection = await self._connected()
        async with translate_errors("opening a channel"):
            return await connection.channel(publisher_confirms=confirms, on_return_raises=confirms)

    async def close_channel(self, channel: AbstractChannel) -> None:
        """Close a channel, if it is not closed already. Who is cancelled meanwhile waits for it."""
        async with task_group() as tasks:
            closing = tasks.create_task(self._close(channel))
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                # aiormq would close it once more, for which RabbitMQ ends the connection of all.
                await asyncio.wait([closing])
                raise

    async def _close(self, channel: AbstractChannel) -> None:
        try:
            async with translate_errors("closing a channel", CLOSE_SECONDS):
                await channel.close()
        except BrokerUnavailable as error:
            _log.debug("%s: %s", self._name, error)  # The broker closes it with the connection.

    async def server_version(self) -> tuple[int, ...]:
        """Return the version of RabbitMQ, such as (3, 10, 8)."""
        return parse_version(str((await self.server_properties()).get("version")))

    async def server_properties(self) -> Mapping[str, Any]:
        """Return the properties that the broker sent when the connection was opened."""
        return (await self._connected()).server_properties

    async def _connected(self) -> AbstractConnection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS), self._opening:
                for wait in backoff():
                    self.check_open()
                    if self._live is not None and not self._live.is_closed:
                        return self._live
                    try:
                        self._live = await self._open()
                    except BrokerUnavailable as error:
                        self._failure = str(error)
                        await asyncio.sleep(wait)
        except TimeoutError:
            pass
        raise BrokerUnavailable(
            f"there is no connection to RabbitMQ after {CONNECT_SECONDS:g} s: {self._failure}"
        )

    async def _open(self) -> AbstractConnection:
        """Try each endpoint once. Raises AccessDenied or BrokerUnavailable."""
        return await self._endpoints.open(self._log_in)

    async def _log_in(self, endpoint: Endpoint) -> AbstractConnection:
        await self._discard()
        address, seconds = endpoint.address, endpoint.login_seconds
        url = make_url(
            host=endpoint.host.name,
            port=endpoint.host.port,
            login=address.user,
            password=address.password,
            virtualhost=address.virtual_host,
            ssl=address.tls is not None,
            heartbeat=HEARTBEAT_SECONDS,
            auth="external" if address.external else "plain",
        )
        names: FieldTable = {"connection_name": self._name}
        connection = self._connection = Connection(url, client_properties=names)
        connection.kwargs["transport_factory"] = _Dialling(endpoint, self._dialled)
        try:
            async with asyncio.timeout(seconds):
                await connection.connect()
        except TimeoutError:
            raise BrokerUnavailable(f"{address!r} did not answer within {seconds:g} s") from None
        except CONNECTION_EXCEPTIONS as error:
            raise translate_connect_error(address, error) from error
        transport = connection.transport
        if transport is None:
            raise BrokerUnavailable(f"{address!r} closed the connection at once")
        # aiormq does not type this future.
        cast(Any, transport.connection).closing.add_done_callback(self._on_closed)
        return transport.connection

    def _dialled(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        if self.closed_for_good:
            transport.abort()

    def _on_closed(self, closing: asyncio.Future[None]) -> None:
        if not self.closed_for_good:
            self.connection_generation += 1
            dropped, self._dropped = self._dropped, ""
            silent = dropped or "nothing came from RabbitMQ for too long"
            self._failure = closing_reason(closing) or silent
            self._log.log_unused_lost(self._name, self._failure)

    async def _discard(self) -> None:
        # A connection that is not closed closes itself when it is garbage-collected, in a task
        # that nobody owns. That includes one that failed or was lost.
        connection, self._connection, self._live = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def drop(self, reason: str) -> None:
        """End the connection that there is now. The next one may be to another node."""
        self._dropped = reason
        try:
            async with translate_errors("ending the connection", CLOSE_SECONDS), self._opening:
                await self._discard()
        except BrokerUnavailable as error:
            _log.debug("%s: %s", self._name, error)

    def abandon(self) -> None:
        """End the connection for good, without waiting for the broker."""
        self.closed_for_good = True
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close the connection, even if the broker does not answer."""
        self.closed_for_good = True
        try:
            async with translate_errors("closing the connection", CLOSE_SECONDS):
                await self._discard()
        except BrokerUnavailable as error:
            _log.debug("%s: %s", self._name, error)


class _Dialling(TransportFactory):
    """Opens the socket of a connection at an endpoint, whatever the URL says."""

    def __init__(
        self, endpoint: Endpoint, on_dialled: Callable[[asyncio.Transport], object]
    ) -> None:
        self._endpoint = endpoint
        self._on_dialled = on_dialled

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        del url, kwargs  # The endpoint has all that they say.
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = await self._endpoint.dial(protocol)
        self._on_dialled(transport)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class OwnConnection:
    """What has a connection of its own, which leaving closes for good."""

    def __init__(self, connection: ManagementConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first three numbers of a version, such as (3, 10, 8)."""
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
