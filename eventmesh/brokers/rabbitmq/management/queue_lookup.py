"""Tells a queue that is away with its node from one that does not exist or is full.

A publisher cannot tell: RabbitMQ returns or refuses its message in each of these cases.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

from aiormq.exceptions import ChannelNotFoundEntity

from eventmesh.brokers.rabbitmq.error_translation import QueueAway, check_away, translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS
from eventmesh.model.errors import BrokerUnavailable

VALID_SECONDS: Final = 1.0
"""Seconds for which a finding holds: callers repeat faster than that, and nodes do not return."""

MAX_LOOKING: Final = 16
"""Queues that are looked for at once: each takes a channel."""

MAX_KNOWN: Final = 1_000
"""Queues whose finding is remembered at once; the oldest are forgotten."""


class QueueLookup:
    """Looks for queues, each at most once in VALID_SECONDS.

    One for which RabbitMQ does not answer holds up nobody who asks for another.
    """

    def __init__(self, connection: ManagementConnection) -> None:
        self._connection = connection
        self._findings: dict[str, tuple[float, QueueAway | None]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._room = asyncio.Semaphore(MAX_LOOKING)

    async def check(self, name: str, seconds: float) -> None:
        """Raise QueueAway if the queue's node is away. Gives up after so many seconds."""
        try:
            # Those who ask for the same queue wait for one answer.
            lock = self._locks.setdefault(name, asyncio.Lock())
            async with asyncio.timeout(max(seconds, 0.0)), lock:
                away = await self._find(name)
        except (TimeoutError, BrokerUnavailable):
            return  # Nothing is known: what the publisher saw stands.
        if away is not None:
            raise QueueAway(str(away))

    async def _find(self, name: str) -> QueueAway | None:
        now = asyncio.get_running_loop().time()
        found = self._findings.pop(name, None)
        if found is None or now - found[0] > VALID_SECONDS:
            async with self._room:
                away = await self._look(name)
            found = (asyncio.get_running_loop().time(), away)
        self._findings[name] = found
        if len(self._findings) > MAX_KNOWN:
            del self._findings[next(iter(self._findings))]
        return found[1]

    async def _look(self, name: str) -> QueueAway | None:
        async with self._connection.channel() as channel:
            try:
                async with translate_errors(f"looking for {name!r}", AWAY_SECONDS):
                    try:
                        await channel.queue_declare(name, passive=True)
                    except ChannelNotFoundEntity as error:
                        check_away(error)
            except QueueAway as away:
                return away
            except BrokerUnavailable as error:
                if self._connection.is_open:
                    # Others are answered: from 4.x on a queue is not whose node is away.
                    return QueueAway(str(error))
                raise
        return None
