"""Translates the exceptions of aio-pika, and of aiormq beneath it, to those of eventmesh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import (
    ChannelAccessRefused,
    ChannelClosed,
    ChannelLockedResource,
    ConnectionClosed,
)

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.connect_errors import ACCESS_REFUSED, NOT_ALLOWED, connect_error
from eventmesh.brokers.rabbitmq.timing import CALL_SECONDS
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError

_OPEN_REFUSED: Final = "Connection.OpenOk"
"""A part of aiormq's error text when RabbitMQ does not open the virtual host."""


_AWAY: Final = "is down or inaccessible"
"""A part of RabbitMQ's text when a queue exists and the only node that has it is away."""


class QueueAway(BrokerUnavailable):
    """A queue cannot be used now although RabbitMQ is there: the node that has it is away."""


def check_away(error: Exception) -> None:
    """Raise QueueAway if RabbitMQ did not find a queue because its node is away."""
    if _AWAY in str(error):
        raise QueueAway(
            f"RabbitMQ is there, and a node of it is not: {error}; it is used again once that node "
            "is back. See 'A cluster' in docs/rabbitmq.md"
        ) from error


@asynccontextmanager
async def translate_errors(what: str, seconds: float | None = None) -> AsyncGenerator[None]:
    """Limit the wait for RabbitMQ's replies in the block, and translate aio-pika's exceptions.

    The limit is CALL_SECONDS, or `seconds`. Raises AccessDenied if the user lacks permissions, and
    BrokerUnavailable for everything else.
    """
    seconds = CALL_SECONDS if seconds is None else seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise BrokerUnavailable(f"{what}: RabbitMQ did not answer within {seconds:g} s") from None
    except (ChannelAccessRefused, ChannelLockedResource) as error:
        raise AccessDenied(f"{what}: {error}; see the user's permissions in RabbitMQ") from error
    except asyncio.CancelledError as error:
        # aiormq raises it as well.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable(f"{what}: the connection to RabbitMQ ended") from error
    except Exception as error:
        # aiormq raises a bare Exception in waiting tasks when everything is closed.
        if isinstance(error, CONNECTION_EXCEPTIONS) or type(error) is Exception:
            raise BrokerUnavailable(f"{what}: {str(error) or 'the connection ended'}") from error
        raise


def translate_connect_error(address: Address, error: Exception) -> InvocationError:
    """Return the error to raise for one that aio-pika raised when it connected."""
    reason = str(error) or type(error).__name__
    if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
        return connect_error(address, reason, ACCESS_REFUSED)
    if isinstance(error, InvalidFrameError) and _OPEN_REFUSED in reason:
        # aiormq drops RabbitMQ's text; at this point the reason is the virtual host.
        return connect_error(address, "it closed the connection", NOT_ALLOWED)
    return connect_error(address, reason)


def closing_reason(closing: asyncio.Future[Any]) -> str:
    """Return why a connection or channel of aiormq was closed; "" if unknown."""
    error = None if closing.cancelled() else closing.exception()
    match error:
        case ChannelClosed(args=(None, None)):  # After a close from this side.
            return ""
        case ChannelClosed(args=(code, text)) | ConnectionClosed(args=(code, text)):
            return f"RabbitMQ closed it: {code} {text}"
        case ConnectionClosed(args=(text,)):  # The code of some is in aiormq's class alone.
            return f"RabbitMQ closed it: {text}"
        case None:
            return ""
        case _:
            return str(error)
