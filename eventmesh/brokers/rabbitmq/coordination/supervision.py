"""Notices the end of a channel of a lease or of slots."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from aiormq.abc import AbstractChannel
from pamqp import commands

from eventmesh.brokers.rabbitmq.error_translation import closing_reason


def on_channel_close(channel: AbstractChannel, on_end: Callable[[str], None]) -> None:
    """Call `on_end`, with the reason, when the channel ends or the broker cancels a consumer.

    That happens when the connection is lost, an operator closes it, the queue is deleted or moved,
    or a delivery stays unacked for too long. `on_end` may be called more than once.
    """

    def on_closed(closing: asyncio.Future[Any]) -> None:
        on_end(f"its channel was closed ({closing_reason(closing) or 'with its connection'})")

    def on_cancelled(cancel: commands.Basic.Cancel | commands.Basic.CancelOk) -> None:
        del cancel
        on_end("RabbitMQ cancelled its consumer: the queue was deleted or moved")

    # aiormq does not type this future.
    cast(Any, channel).closing.add_done_callback(on_closed)
    channel.on_consumer_cancel_callbacks.add(on_cancelled)
