"""Counts the tokens of mesh-wide slots that are held, to find out whether some were lost.

An operator may purge their queue, or a policy let them expire. AMQP tells how many messages of a
queue are ready and how many consumers it has, but not how many messages are held. Each consumer of
tokens takes one message at a time, so it either holds a token or takes what is published next. So a
probe is published for each consumer, and one more: those that stay ready say how many consumers
hold a token. Who gets a probe keeps it for PROBE_SECONDS.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiormq.abc import AbstractChannel
from pamqp import commands

from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.management import Management

PROBE: Final = "probe"
"""The message type of a probe."""

PROBE_SECONDS: Final = 2.0
"""Seconds for which a probe is kept by who gets it. One that nobody gets expires by then."""

SETTLE_SECONDS: Final = 0.2
"""Seconds between two readings that must be the same: consumers come and go."""


async def count_held(management: Management, queue: str) -> int | None:
    """Return how many tokens consumers of the queue hold; None if that cannot be told now.

    It cannot if tokens are ready, which is no reason to count, or while consumers come and go.
    Raises BrokerUnavailable.
    """
    async with (
        management.publish_connection.channel(confirms=True) as channel,
        translate_errors(f"counting the slots in {queue!r}"),
    ):
        ready, consumers = await _read(channel, queue)
        if ready:
            return None
        started = asyncio.get_running_loop().time()
        probes = consumers + 1
        for _ in range(probes):
            await _publish_probe(management, channel, queue)
        first = await _read(channel, queue)
        await asyncio.sleep(SETTLE_SECONDS)
        left, consumers = second = await _read(channel, queue)
        took = asyncio.get_running_loop().time() - started
    if first != second or not left or took > PROBE_SECONDS / 2:
        # Some probes may have been given back or have expired, or a consumer may have got none.
        return None
    return consumers - (probes - left)


async def _read(channel: AbstractChannel, queue: str) -> tuple[int, int]:
    """Return how many messages are ready, and how many consumers there are."""
    declared = await channel.queue_declare(queue, passive=True)
    return declared.message_count or 0, declared.consumer_count or 0


async def _publish_probe(management: Management, channel: AbstractChannel, queue: str) -> None:
    await channel.basic_publish(
        b"",
        exchange=management.own_exchange,
        routing_key=queue,
        properties=commands.Basic.Properties(
            message_type=PROBE,
            expiration=str(round(PROBE_SECONDS * 1000)),
            user_id=management.user or None,
        ),
        mandatory=True,
    )
