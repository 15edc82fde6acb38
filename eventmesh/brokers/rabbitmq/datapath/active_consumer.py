"""The AMQP consumers of one subscription on one channel: one, and more for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from eventmesh.brokers.rabbitmq.amqp.channel import Channel, DeliveryCallback
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.datapath.acks import AckBatcher


class ActiveConsumer:
    """Consumes a queue on a channel, with a prefetch that can be changed.

    RabbitMQ cannot change the prefetch of a consumer: qos applies to those that start after it
    (https://www.rabbitmq.com/docs/consumer-prefetch). So a higher prefetch is another consumer
    beside the first. For a lower one all are cancelled, and what they have delivered is surplus:
    consumers are started for the rest, and more as the surplus is settled. Once nothing is unacked,
    one consumer takes the place of all.
    """

    def __init__(
        self,
        connection: AmqpConnection,
        channel: Channel,
        queue: str,
        prefetch: int,
        build_callback: Callable[[AckBatcher], DeliveryCallback],
    ) -> None:
        """Nothing is consumed before `adjust` is called."""
        self.connection = connection
        self.channel = channel
        self.acks = AckBatcher(channel)
        self.prefetch = prefetch
        self._queue = queue
        self._callback = build_callback(self.acks)
        # How many AMQP consumers there are, and their prefetches together.
        self._consumers = 0
        self._consumed = 0
        loop = asyncio.get_running_loop()
        self._cancelled: asyncio.Future[str] = loop.create_future()
        self._due: asyncio.Future[None] = loop.create_future()
        channel.on_cancel = self._on_cancel

    async def adjust(self) -> None:
        """Make the prefetch what it should be. Raises BrokerUnavailable if the channel ends."""
        if self._missing < 0 or self._is_scattered:
            await self.stop()
        missing = self._missing
        if missing > 0:
            self._consumers += 1
            self._consumed += missing
            await self.channel.consume(self._queue, missing, self._callback)
        again = self._consumers > 1 or self.acks.surplus
        self.acks.on_settled = self._on_settled if again else None

    async def stop(self) -> None:
        """Cancel all its consumers: nothing is delivered after that."""
        await self.channel.stop_consuming()
        self._consumers = self._consumed = 0
        self.acks.on_settled = self._on_settled
        self.acks.set_aside()

    async def wait(self) -> str | None:
        """Wait until it is to be adjusted, or has ended: returns why."""
        ended = (self.channel.closed, self._cancelled)
        done, _ = await asyncio.wait((*ended, self._due), return_when=asyncio.FIRST_COMPLETED)
        for future in ended:
            if future in done:
                return future.result()
        self._due = asyncio.get_running_loop().create_future()
        return None

    @property
    def _missing(self) -> int:
        """How many more may be delivered than are held and consumed for; below 0, how many less."""
        return self.prefetch - self._consumed - self.acks.surplus

    @property
    def _is_scattered(self) -> bool:
        return self._consumers > 1 and not self.acks

    def _on_settled(self) -> None:
        if (self._missing > 0 or self._is_scattered) and not self._due.done():
            self._due.set_result(None)

    def _on_cancel(self, _tag: str) -> None:
        if not self._cancelled.done():
            self._cancelled.set_result("RabbitMQ cancelled it: its queue was deleted or has moved")
