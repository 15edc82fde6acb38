"""The unconfirmed messages of a channel in confirm mode."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from struct import Struct
from typing import Final

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq.amqp.properties import decode_properties
from eventmesh.model.errors import AccessDenied, BrokerUnavailable

_CLOCK: Final = SystemClock()
_TAG: Final = Struct(">QB")
_MULTIPLE: Final = 1
_METHOD_SIZE: Final = 4
_EXCHANGE: Final = 6
"""The offset of the exchange's name in a target, after the method and two reserved octets."""
_MANDATORY: Final = b"\x01"
_ADVICE: Final = (
    "Give the user the right to write there; with a user for each service, declare it in calls=[…] "
    "or emits=[…], and load what 'eventmesh export broker' writes"
)


class Refused(Exception):
    """The broker refused a published message: basic.nack."""


class Returned(Exception):
    """A mandatory message reached no queue: basic.return."""


class Unsent(Exception):
    """The broker closed the channel because of an earlier message, and did not look at this one."""


class _Publish:
    """A published message that the broker has not confirmed yet."""

    __slots__ = ("confirmed", "id", "returned", "target")

    def __init__(self, confirmed: asyncio.Future[None], target: bytes, id: str) -> None:
        self.confirmed = confirmed
        self.target = target
        self.id = id
        self.returned = False

    def fail(self, error: Exception) -> None:
        if not self.confirmed.done():
            self.confirmed.set_exception(error)
            self.confirmed.exception()  # Marks it as retrieved: its publisher may be gone.


class Confirms:
    """The unconfirmed messages of one channel, in the order of publishing.

    `on_resolved` is called with the target of each message that is confirmed or refused, or never
    will be. A message whose publisher gave up, or was cancelled, counts until its confirm comes.
    """

    __slots__ = ("_loop", "_published", "_unconfirmed", "on_resolved")

    def __init__(self) -> None:
        self.on_resolved: Callable[[bytes], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._published = 0
        # A plain dict searches for its first key past all deleted ones.
        self._unconfirmed: OrderedDict[int, _Publish] = OrderedDict()

    def __len__(self) -> int:
        return len(self._unconfirmed)

    @property
    def answered(self) -> int:
        """How many messages count no more."""
        return self._published - len(self._unconfirmed)

    def count_abandoned(self) -> int:
        """Count the unconfirmed messages that no publisher waits for any more."""
        return sum(publish.confirmed.done() for publish in self._unconfirmed.values())

    def forget_abandoned(self) -> list[bytes]:
        """Drop the messages that no publisher waits for any more, and return their targets."""
        abandoned = [tag for tag, each in self._unconfirmed.items() if each.confirmed.done()]
        return [self._unconfirmed.pop(tag).target for tag in abandoned]

    def add(self, target: bytes, id: str) -> asyncio.Future[None]:
        """Add a published message, and return the future of its confirm."""
        confirmed: asyncio.Future[None] = self._loop.create_future()
        # The broker counts the same way (https://www.rabbitmq.com/docs/confirms).
        self._published += 1
        self._unconfirmed[self._published] = _Publish(confirmed, target, id)
        return confirmed

    def on_confirm(self, payload: bytes, *, acked: bool) -> None:
        """Handle the payload of a basic.ack or basic.nack, for one message or all up to it."""
        tag, bits = _TAG.unpack_from(payload, _METHOD_SIZE)
        if not bits & _MULTIPLE:
            self._answer(tag, acked=acked)
            return
        while self._unconfirmed and (first := next(iter(self._unconfirmed))) <= tag:
            self._answer(first, acked=acked)

    def on_return(self, exchange_and_key: bytes, properties: bytes) -> None:
        """Handle the return of a mandatory message. Its confirm follows as if it was routed.

        A return does not carry the number of its message. It is the first unconfirmed one with
        this id and this target, because returns keep the order.
        """
        id = decode_properties(properties, b"", _CLOCK, redelivered=False).message.id
        target = exchange_and_key + _MANDATORY
        for publish in self._unconfirmed.values():
            same = publish.id == id and publish.target[_EXCHANGE:] == target
            if same and not publish.returned:
                publish.returned = True
                publish.fail(Returned())
                return

    def end(self, reason: str, refused: str | None = None) -> None:
        """Fail all messages: no confirm can come any more.

        `refused` is the exchange to which the broker does not let the user publish, if it closed
        the channel for that. It took no message after the first one to it.
        """
        unconfirmed, self._unconfirmed = self._unconfirmed, OrderedDict()
        unsent = False
        for publish in unconfirmed.values():
            if refused is not None and exchange_of(publish.target) == refused:
                unsent = True
                publish.fail(AccessDenied(f"{reason}; the message was not stored. {_ADVICE}"))
            elif unsent:
                publish.fail(Unsent(reason))
            else:
                publish.fail(BrokerUnavailable(f"{reason}; the message may or may not be stored"))
            if self.on_resolved is not None:
                self.on_resolved(publish.target)

    def _answer(self, tag: int, *, acked: bool) -> None:
        publish = self._unconfirmed.pop(tag, None)
        if publish is None:
            return
        if not acked:
            publish.fail(Refused())
        elif not publish.confirmed.done():
            publish.confirmed.set_result(None)
        if self.on_resolved is not None:
            self.on_resolved(publish.target)


def exchange_of(target: bytes) -> str:
    """Return the exchange in the payload of a basic.publish."""
    start = _EXCHANGE + 1
    return target[start : start + target[_EXCHANGE]].decode(errors="replace")
