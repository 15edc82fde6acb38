"""From the exceptions of aio-pika, and of aiormq beneath it, to those of eventmesh."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from eventmesh.brokers.rabbitmq.amqp.connection import Address
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError

CALL_SECONDS: Final = 10.0
"""How long RabbitMQ may take for the answers awaited in one block."""


@asynccontextmanager
async def translate_errors(what: str, seconds: float | None = None) -> AsyncGenerator[None]:
    """Limit the wait for RabbitMQ's answers in the block, and translate how it may fail.

    It is CALL_SECONDS unless said otherwise. Raises AccessDenied for what the user may not do, and
    BrokerUnavailable for all else.
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
        # aiormq raises this one too.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise BrokerUnavailable(f"{what}: the connection to RabbitMQ ended") from error
    except Exception as error:
        # A bare Exception is what aiormq raises in whoever waits when all is closed.
        if isinstance(error, CONNECTION_EXCEPTIONS) or type(error) is Exception:
            raise BrokerUnavailable(f"{what}: {str(error) or 'the connection ended'}") from error
        raise


def connect_error(address: Address, error: Exception) -> InvocationError:
    """Why a connection could not be opened."""
    if isinstance(error, (AuthenticationError, ProbableAuthenticationError)):
        return AccessDenied(
            f"{address!r} refused the user {address.user!r}: check the name and the password, and "
            "that the user may log in from here (guest may from the broker's own machine only)"
        )
    if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
        # aiormq drops what the broker said; at this point it is about the virtual host.
        return AccessDenied(
            f"{address!r} refused the virtual host {address.virtual_host!r}: it is not there, or "
            f"the user {address.user!r} has no permissions in it"
        )
    return BrokerUnavailable(f"{address!r} cannot be reached: {str(error) or type(error).__name__}")
