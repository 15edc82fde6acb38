"""Deliveries, and what collects their acknowledgements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.model.message import Message


class RabbitDelivery:
    """A delivered message, with the channel on which it is acked or requeued."""

    __slots__ = ("_acks", "losses", "message", "number", "redeliveries")

    def __init__(
        self, message: Message, counts: tuple[int, int], number: int, acks: AckBatcher
    ) -> None:
        """`counts` are its redeliveries and losses, and `number` its delivery tag."""
        self.message = message
        self.number = number
        self.redeliveries, self.losses = counts
        self._acks = acks

    @property
    def held(self) -> bool:
        return self._acks.holds(self.number)

    @property
    def stale(self) -> bool:
        return not self._acks.channel.is_open

    def ack(self) -> None:
        self._acks.ack(self.number)

    def requeue(self) -> None:
        self._acks.requeue(self.number)


class AckBatcher:
    """Acks the deliveries of one channel, in one write for each pass of the event loop.

    Delivery tags count up within their channel and end with it (AMQP 0-9-1, section 1.8.3).
    Finished deliveries without a gap are acked at once, with `multiple`; those after a gap are
    acked one by one, so that a slow delivery delays only itself.

    `surplus` is how many are left of those that it had when `set_aside` was called last: it is kept
    while there is an `on_settled`, which is called when some were acked or requeued.
    """

    __slots__ = (
        "_acked",
        "_flushing",
        "_last_surplus",
        "_unacked",
        "channel",
        "on_settled",
        "surplus",
    )

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.surplus = 0
        self.on_settled: Callable[[], None] | None = None
        self._unacked: dict[int, None] = {}
        self._acked: set[int] = set()
        self._flushing = False
        self._last_surplus = 0

    def __len__(self) -> int:
        """Return how many deliveries RabbitMQ still counts as unacknowledged."""
        return len(self._unacked)

    def set_aside(self) -> None:
        """Count all that it has as surplus."""
        self.surplus = len(self._unacked)
        self._last_surplus = next(reversed(self._unacked), 0)

    def add(self, tag: int) -> None:
        """Add a delivery that waits for its ack or requeue."""
        self._unacked[tag] = None

    def holds(self, tag: int) -> bool:
        """Whether a delivery waits for its ack or requeue, and can get it."""
        return self.channel.is_open and tag in self._unacked and tag not in self._acked

    def ack(self, tag: int) -> None:
        if tag not in self._unacked or tag in self._acked:
            return
        self._acked.add(tag)
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self.flush)

    def requeue(self, tag: int) -> None:
        if tag in self._unacked and tag not in self._acked:
            del self._unacked[tag]
            self.channel.requeue(tag)
            if self.on_settled is not None:
                self._report((tag,), self.on_settled)

    def flush(self) -> None:
        """Write the collected acks."""
        self._flushing = False
        acked, self._acked = self._acked, set()
        prefix: list[int] = []
        for tag in self._unacked:
            if tag not in acked:
                break
            prefix.append(tag)
        for tag in prefix:
            del self._unacked[tag]
        acked.difference_update(prefix)
        if prefix:
            self.channel.ack(prefix[-1], multiple=len(prefix) > 1)
        for tag in sorted(acked):
            del self._unacked[tag]
            self.channel.ack(tag)
        if self.on_settled is not None:
            self._report((*prefix, *acked), self.on_settled)

    def _report(self, settled: Iterable[int], on_settled: Callable[[], None]) -> None:
        if self.surplus:
            self.surplus -= sum(tag <= self._last_surplus for tag in settled)
        on_settled()
