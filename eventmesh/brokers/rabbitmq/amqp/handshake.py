"""Opens a connection: logs in and negotiates limits (AMQP 0-9-1, section 2.2.4)."""

from __future__ import annotations

import asyncio
import platform

from pamqp import commands
from pamqp.common import FieldValue

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.frames import SIZE_MAX, SIZE_MIN
from eventmesh.brokers.rabbitmq.endpoints import Endpoint, Endpoints
from eventmesh.brokers.rabbitmq.limits import MAX_CHANNELS
from eventmesh.brokers.rabbitmq.timing import HEARTBEAT_SECONDS
from eventmesh.model.errors import AccessDenied, BrokerUnavailable


async def connect(
    address: Address, name: str, endpoints: Endpoints | None = None
) -> AmqpConnection:
    """Open a connection; `name` is its name in RabbitMQ's tools.

    Pass the `endpoints` of the process if it has other connections to the same broker. Raises
    AccessDenied when the credentials or the virtual host are refused, and BrokerUnavailable for
    everything else, also after the limits of all endpoints.
    """

    async def log_in(endpoint: Endpoint) -> AmqpConnection:
        return await _connect(endpoint, name)

    return await (endpoints or Endpoints(address)).open(log_in)


async def _connect(endpoint: Endpoint, name: str) -> AmqpConnection:
    connection = AmqpConnection(endpoint.address, endpoint)
    seconds = endpoint.login_seconds
    try:
        async with asyncio.timeout(seconds):
            await endpoint.dial(connection)
            await _log_in(connection, name)
    except TimeoutError:
        connection.fail("the handshake took too long")
        raise BrokerUnavailable(
            f"{endpoint.address!r} did not answer within {seconds:g} s"
        ) from None
    except BaseException:
        connection.fail("the handshake failed")
        raise
    return connection


async def _log_in(connection: AmqpConnection, name: str) -> None:
    address = connection.address
    start = await connection.receive(commands.Connection.Start)
    mechanism = "EXTERNAL" if address.external else "PLAIN"
    if mechanism not in str(start.mechanisms).split():
        raise AccessDenied(f"{address!r} does not offer {mechanism} authentication")
    connection.send(
        commands.Connection.StartOk(
            client_properties=_client_properties(name),
            mechanism=mechanism,
            response="" if address.external else f"\0{address.user}\0{address.password}",
            locale="en_US",
        )
    )
    agreed = _agree(await connection.receive(commands.Connection.Tune))
    connection.send(agreed)
    connection.tune(agreed.channel_max, agreed.frame_max, agreed.heartbeat)
    connection.send(commands.Connection.Open(virtual_host=address.virtual_host))
    await connection.receive(commands.Connection.OpenOk)


def _agree(tune: commands.Connection.Tune) -> commands.Connection.TuneOk:
    """Return the smaller limits of both sides; 0 means no limit (section 1.4.2.5)."""
    frame_max = min(tune.frame_max or SIZE_MAX, SIZE_MAX)
    if frame_max < SIZE_MIN:
        raise BrokerUnavailable(
            f"RabbitMQ takes frames of {frame_max} bytes at most, and AMQP requires {SIZE_MIN} at "
            "least: correct its setting frame_max"
        )
    return commands.Connection.TuneOk(
        channel_max=min(tune.channel_max or MAX_CHANNELS, MAX_CHANNELS),
        frame_max=frame_max,
        heartbeat=min(tune.heartbeat or HEARTBEAT_SECONDS, HEARTBEAT_SECONDS),
    )


def _client_properties(name: str) -> dict[str, FieldValue]:
    return {
        "connection_name": name,
        "product": "eventmesh",
        "platform": f"Python {platform.python_version()}",
        "capabilities": {
            "authentication_failure_close": True,
            "basic.nack": True,
            "connection.blocked": True,
            "consumer_cancel_notify": True,
            "publisher_confirms": True,
        },
    }
