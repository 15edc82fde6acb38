"""Finds out whether RabbitMQ keeps a delayed message until it is stored in its next queue.

That is what dead-lettering at least once means. Up to 3.11 it depends on the feature flag
`stream_queue`, which a cluster that was created before 3.9 does not have until an operator enables
it. Without it RabbitMQ falls back to at most once, and logs that on its own side alone
(https://www.rabbitmq.com/blog/2022/03/29/at-least-once-dead-lettering). From 3.12 on the flag is
always enabled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from aiormq.exceptions import ChannelPreconditionFailed

from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.model.errors import AccessDenied, BrokerUnavailable

ALWAYS_ENABLED: Final = (3, 12)

RECHECK_SECONDS: Final = 10.0
"""Seconds for which the flag is taken for disabled: an operator may enable it at any time."""

ADVICE: Final = "run 'rabbitmqctl enable_feature_flag all' on one node, which needs no restart"

_DISABLED: Final = "feature flag is disabled"

_log: Final = logging.getLogger("eventmesh.rabbitmq")


async def is_stream_flag_enabled(connection: ManagementConnection, prefix: str) -> bool:
    """Ask for an exclusive stream, which RabbitMQ never creates, and see why it refuses.

    Without the flag it ends the connection, so use one for this alone. The name of what is asked
    for begins with `prefix`. A user who may not ask is answered with True: nothing is known then.

    Raises BrokerUnavailable.
    """
    name = f"{prefix}{uuid4().hex}"
    async with connection.channel() as channel:
        # That it ends now is no outage, and not logged as one.
        connection.closed_for_good = True
        try:
            async with translate_errors("asking for the feature flag stream_queue"):
                try:
                    await channel.queue_declare(
                        name,
                        durable=True,
                        exclusive=True,
                        arguments={"x-queue-type": "stream"},
                    )
                except ChannelPreconditionFailed:
                    return True
        except AccessDenied:
            return True
        except BrokerUnavailable as error:
            if _DISABLED in str(error):
                return False
            raise
    return True


class StreamFlag:
    """What one process knows of the flag: it asks again until it is `enabled`."""

    def __init__(self, make_connection: Callable[[], ManagementConnection], prefix: str) -> None:
        """`make_connection` makes one to ask on, which is closed after that."""
        self._make_connection = make_connection
        self._prefix = prefix
        self.enabled = False
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def check(self, version: tuple[int, ...]) -> None:
        """Raise BrokerUnavailable if this version of RabbitMQ may lose what is delayed."""
        if self.enabled:
            return
        if version >= ALWAYS_ENABLED:
            self.enabled = True
            return
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if not self.enabled and now - self._asked > RECHECK_SECONDS:
                self.enabled = await self._ask()
                self._asked = now
        if not self.enabled:
            raise BrokerUnavailable(
                "RabbitMQ may lose messages with a delay, so none is sent: its feature flag "
                f"stream_queue is disabled; {ADVICE}"
            )

    async def warn(self, version: tuple[int, ...]) -> None:
        """Log an error if this version of RabbitMQ may lose what is delayed."""
        try:
            await self.check(version)
        except BrokerUnavailable as error:
            _log.error("%s. Until then retries wait, too", error)

    async def _ask(self) -> bool:
        connection = self._make_connection()
        try:
            return await is_stream_flag_enabled(connection, self._prefix)
        finally:
            await connection.close()
