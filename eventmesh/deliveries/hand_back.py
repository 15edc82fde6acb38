"""Hands back deliveries that are not run here, to be delivered again, here or elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.engine.settlement import MAX_HAND_BACKS
from eventmesh.model.errors import EventmeshError
from eventmesh.model.message import Message
from eventmesh.model.topology import Route
from eventmesh.model.value import value

HAND_BACK_SECONDS: Final = 5.0
"""The limit for storing handed-back messages anew, all together: the process is stopping."""

_log: Final = logging.getLogger(__name__)


@value
class Renewal:
    """Where a message that was handed back often is stored anew, and as what."""

    route: Route
    renew: Callable[[Message], Message]


class HandBack:
    """Collects the deliveries of one consumer that are not run here, and returns them.

    A hand-back spends nothing, however often it happens: no attempt, and no crash. RabbitMQ up to
    4.2 counts a requeue like a crash. So a message with MAX_HAND_BACKS such counts is stored anew,
    at the end of its queue, where it counts from 0 again, and then acknowledged. That it is handed
    back shows that it does not kill its process. If it cannot be stored, it is requeued.
    """

    __slots__ = ("_broker", "_clock", "_collected", "_renewal")

    def __init__(self, broker: Broker, clock: Clock, renewal: Renewal | None = None) -> None:
        """Without a `renewal` all are requeued, however often."""
        self._broker = broker
        self._clock = clock
        self._renewal = renewal
        self._collected: list[Delivery] = []

    def add(self, delivery: Delivery) -> None:
        """Collect a delivery, which may have been settled: then nothing is done about it."""
        self._collected.append(delivery)

    async def return_all(self, deliveries: Iterable[Delivery]) -> None:
        """Return these to their queue now, with what was collected."""
        self._collected.extend(deliveries)
        await self.flush()

    async def flush(self) -> None:
        """Return what was collected to its queue, in the order in which it was delivered.

        So it is delivered in that order again: a quorum queue returns first what was requeued
        first, and a classic queue knows the place of each.
        """
        collected, self._collected = self._collected, []
        renewal, often = self._renewal, list[Delivery]()
        for delivery in sorted((each for each in collected if each.held), key=_number):
            if renewal is not None and delivery.losses >= MAX_HAND_BACKS:
                often.append(delivery)
            else:
                delivery.requeue()
        if renewal is not None and often:
            await self._store_anew(often, renewal)

    async def _store_anew(self, deliveries: list[Delivery], renewal: Renewal) -> None:
        try:
            with TimeLimit(self._clock, HAND_BACK_SECONDS):
                for delivery in deliveries:
                    again = replace(delivery.message, redeliveries=delivery.redeliveries + 1)
                    await self._broker.publish(renewal.route, renewal.renew(again))
                    delivery.ack()
        except (TimeoutError, EventmeshError) as error:
            _log.warning(
                "%s: messages that were handed back %d times cannot be stored anew, so that "
                "RabbitMQ counts on: %s",
                renewal.route.name,
                MAX_HAND_BACKS,
                str(error) or f"it took more than {HAND_BACK_SECONDS:g} s",
            )
        finally:
            for delivery in deliveries:
                if delivery.held:
                    delivery.requeue()


def _number(delivery: Delivery) -> int:
    return delivery.number
