"""Why RabbitMQ closed a connection or a channel, as far as the client library tells it."""

import asyncio

import pytest
from aiormq.exceptions import ChannelClosed, ConnectionClosed, ConnectionInternalError

from eventmesh.brokers.rabbitmq.error_translation import closing_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionClosed(320, "CONNECTION_FORCED"), "RabbitMQ closed it: 320 CONNECTION_FORCED"),
        (ChannelClosed(404, "NOT_FOUND"), "RabbitMQ closed it: 404 NOT_FOUND"),
        (ConnectionInternalError("INTERNAL_ERROR"), "RabbitMQ closed it: INTERNAL_ERROR"),
        (ChannelClosed(None, None), ""),
        (ConnectionResetError("reset by peer"), "reset by peer"),
        (None, ""),
    ],
)
async def test_a_reason_says_who_closed_it(error, reason):
    closing = asyncio.get_running_loop().create_future()
    if error is None:
        closing.set_result(None)
    else:
        closing.set_exception(error)
    assert closing_reason(closing) == reason


async def test_what_was_cancelled_has_no_reason():
    closing = asyncio.get_running_loop().create_future()
    closing.cancel()
    assert closing_reason(closing) == ""
