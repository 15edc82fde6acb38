"""What was published on a channel in confirm mode, until the broker has answered for it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from struct import Struct
from typing import Final

from eventmesh.brokers.rabbitmq.amqp.properties import decode_properties
from eventmesh.model.errors import BrokerUnavailable

_TAG: Final = Struct(">QB")
_MULTIPLE: Final = 1
_METHOD_SIZE: Final = 4
_EXCHANGE: Final = 6
"""Where the exchange's name begins in a target: behind the method and two reserved octets."""
_MANDATORY: Final = b"\x01"


class Refused(Exception):
    """The broker did not take a published message: basic.nack."""


class Returned(Exception):
    """A mandatory message reached no queue: basic.return."""


class _Publish:
    """A published message that the broker has not answered for yet."""

    __slots__ = ("confirmed", "id", "returned", "target")

    def __init__(self, confirmed: asyncio.Future[None], target: bytes, id: str) -> None:
        self.confirmed = confirmed
        self.target = target
        self.id = id
        self.returned = False

    def fail(self, error: Exception) -> None:
        if not self.confirmed.done():
            self.confirmed.set_exception(error)
            self.confirmed.exception()  # If nobody waits any more, there is nothing to report.


class Confirms:
    """The unanswered messages of one channel, in the order of publishing.

    `on_resolved` is called for each that is answered for, or never will be. That nobody waits for
    an answer any more is none: until it comes, the message counts.
    """

    __slots__ = ("_loop", "_published", "_unconfirmed", "on_resolved")

    def __init__(self) -> None:
        self.on_resolved: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._published = 0
        # A plain dict looks for its first key past all that were deleted before it.
        self._unconfirmed: OrderedDict[int, _Publish] = OrderedDict()

    def __len__(self) -> int:
        return len(self._unconfirmed)

    def add(self, target: bytes, id: str) -> asyncio.Future[None]:
        """One more was published: the future of its confirm, or of why there is none."""
        confirmed: asyncio.Future[None] = self._loop.create_future()
        # The broker counts the same way (https://www.rabbitmq.com/docs/confirms).
        self._published += 1
        self._unconfirmed[self._published] = _Publish(confirmed, target, id)
        return confirmed

    def on_confirm(self, payload: bytes, *, acked: bool) -> None:
        """The payload of a basic.ack or basic.nack: for one message, or all up to it."""
        tag, bits = _TAG.unpack_from(payload, _METHOD_SIZE)
        if not bits & _MULTIPLE:
            self._answer(tag, acked=acked)
            return
        while self._unconfirmed and (first := next(iter(self._unconfirmed))) <= tag:
            self._answer(first, acked=acked)

    def on_return(self, exchange_and_key: bytes, properties: bytes) -> None:
        """A mandatory message came back. Its confirm follows, and says nothing of that.

        A return does not say which message it answers for: it is the first that is unanswered
        of those with this id that were to go there, because returns keep the order.
        """
        id = decode_properties(properties, b"", 0.0, redelivered=False).message.id
        target = exchange_and_key + _MANDATORY
        for publish in self._unconfirmed.values():
            same = publish.id == id and publish.target[_EXCHANGE:] == target
            if same and not publish.returned:
                publish.returned = True
                publish.fail(Returned())
                return

    def end(self, reason: str) -> None:
        """No answer can come any more."""
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        for publish in unconfirmed.values():
            publish.fail(BrokerUnavailable(f"{reason}; the message may or may not be stored"))
            if self.on_resolved is not None:
                self.on_resolved()

    def _answer(self, tag: int, *, acked: bool) -> None:
        publish = self._unconfirmed.pop(tag, None)
        if publish is None:
            return
        if not acked:
            publish.fail(Refused())
        elif not publish.confirmed.done():
            publish.confirmed.set_result(None)
        if self.on_resolved is not None:
            self.on_resolved()
