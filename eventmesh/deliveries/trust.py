"""Checks who a message says it is from where it arrives first, before anything else sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from eventmesh.abc import Delivery
from eventmesh.engine.codecs.trust import Believe
from eventmesh.model.message import Message

Deliver: TypeAlias = Callable[[Delivery], None]


def believing(deliver: Deliver, believe: Believe | None) -> Deliver:
    """Return a `deliver` that passes on messages with what is believed of them."""
    if believe is None:
        return deliver

    def check(delivery: Delivery) -> None:
        message = delivery.message
        believed = believe(message)
        deliver(delivery if believed is message else _Believed(delivery, believed))

    return check


class _Believed:
    """A delivery whose message lacks what is not believed."""

    __slots__ = ("_delivery", "message")

    def __init__(self, delivery: Delivery, message: Message) -> None:
        self._delivery = delivery
        self.message = message

    @property
    def number(self) -> int:
        return self._delivery.number

    @property
    def redeliveries(self) -> int:
        return self._delivery.redeliveries

    @property
    def losses(self) -> int:
        return self._delivery.losses

    @property
    def held(self) -> bool:
        return self._delivery.held

    @property
    def stale(self) -> bool:
        return self._delivery.stale

    def ack(self) -> None:
        self._delivery.ack()

    def requeue(self) -> None:
        self._delivery.requeue()
