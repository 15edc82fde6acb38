"""One channel: calls and their replies, contents put together, confirms, consumers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from pamqp import base, commands

from eventmesh.brokers.rabbitmq.wire import frames
from eventmesh.brokers.rabbitmq.wire.properties import decode_properties
from eventmesh.errors import BrokerUnavailable

CALL_SECONDS: Final = 15.0
"""How long the broker may take to answer a method; after that the connection is given up."""

_TAG: Final = Struct(">QB")
_CONTENT_HEADER: Final = Struct(">HHQ")
_REDELIVERED: Final = 1
_MULTIPLE: Final = 1


class ChannelClosed(BrokerUnavailable):
    """The broker closed the channel; `reply_code` says why (AMQP 0-9-1, section 1.1)."""

    def __init__(self, reply_code: int, text: str) -> None:
        super().__init__(f"RabbitMQ closed a channel: {reply_code} {text}")
        self.reply_code = reply_code
        self.text = text


class Refused(Exception):
    """The broker did not take a published message: basic.nack."""


class Returned(Exception):
    """A mandatory message reached no queue: basic.return."""


class Content(Protocol):
    """Takes a message."""

    def __call__(self, tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None: ...


class Wire(Protocol):
    """What a channel needs of its connection."""

    @property
    def frame_max(self) -> int: ...
    @property
    def max_body(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def fail(self, reason: str) -> None: ...
    def forget(self, channel: int) -> None: ...


class _Publish:
    """A published message that the broker has not answered for yet."""

    __slots__ = ("confirmed", "id", "target")

    def __init__(self, confirmed: asyncio.Future[None], target: bytes, id: str) -> None:
        self.confirmed = confirmed
        self.target = target
        self.id = id


class Channel:
    """An open channel. `closed` is done when it is not any more, with why if that was a fault."""

    def __init__(self, wire: Wire, number: int) -> None:
        self.number = number
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_cancel: Callable[[str], None] | None = None
        self._wire = wire
        self._replies: deque[asyncio.Future[base.Frame]] = deque()
        self._consumers: dict[bytes, Content] = {}
        self._unconfirmed: dict[int, _Publish] = {}
        self._published = 0
        self._take: Callable[[bytes, bytes], None] | None = None
        self._properties = b""
        self._missing = 0
        self._pieces: list[bytes] = []

    # Calls

    async def call(self, command: base.Frame) -> base.Frame:
        """Send a method and wait for its reply. Raises BrokerUnavailable or ChannelClosed."""
        self._check_open()
        reply: asyncio.Future[base.Frame] = asyncio.get_running_loop().create_future()
        self._replies.append(reply)
        self._wire.write(frames.method(self.number, command))
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await asyncio.shield(reply)
        except TimeoutError:
            self._wire.fail(f"no answer to {command.name} within {CALL_SECONDS:g} s")
            raise BrokerUnavailable(f"RabbitMQ did not answer {command.name} in time") from None

    async def consume(
        self, queue: str, prefetch: int, content: Content, *, no_ack: bool = False
    ) -> str:
        """Start a consumer with a prefetch of its own, and return its tag.

        Per consumer, not per channel: RabbitMQ reads `global` that way
        (https://www.rabbitmq.com/docs/consumer-prefetch).
        """
        tag = f"c{self.number}.{len(self._consumers)}"
        if prefetch:
            await self.call(commands.Basic.Qos(prefetch_count=prefetch, global_=False))
        self._consumers[tag.encode()] = content
        await self.call(commands.Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack))
        return tag

    async def cancel(self, tag: str) -> None:
        """End a consumer: nothing is delivered to it once this has returned."""
        await self.call(commands.Basic.Cancel(consumer_tag=tag))
        self._consumers.pop(tag.encode(), None)

    async def close(self) -> None:
        """Close the channel; the broker takes back what was not answered."""
        if not self.closed.done():
            await self.call(
                commands.Channel.Close(reply_code=200, reply_text="done", class_id=0, method_id=0)
            )

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge one delivery, or all up to it."""
        if not self.closed.done():
            self._wire.write(frames.ack(self.number, tag, multiple=multiple))

    def requeue(self, tag: int) -> None:
        """Give a delivery back."""
        if not self.closed.done():
            self._wire.write(frames.requeue(self.number, tag))

    # Publishing

    def publish(
        self, target: bytes, properties: bytes, body: bytes, id: str
    ) -> asyncio.Future[None]:
        """Publish on a channel in confirm mode; `id` is the message's own, as in its properties.

        The future is done when the broker holds the message, and raises Refused, Returned,
        or BrokerUnavailable if the channel ends first: nobody knows then.
        """
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._published += 1
        self._unconfirmed[self._published] = _Publish(confirmed, target, id)
        self.publish_unconfirmed(target, properties, body)
        return confirmed

    def publish_unconfirmed(self, target: bytes, properties: bytes, body: bytes) -> None:
        """Publish on a channel without confirm mode, and hear no more of it."""
        self._check_open()
        self._wire.write(
            frames.publish(self.number, target, properties, body, self._wire.frame_max)
        )

    @property
    def unconfirmed(self) -> int:
        """Published messages that are not answered yet."""
        return len(self._unconfirmed)

    # What the connection hands over

    def on_deliver(self, payload: bytes) -> None:
        """The payload of a basic.deliver method; its content follows."""
        end = 5 + payload[4]
        tag, bits = _TAG.unpack_from(payload, end)
        content = self._consumers.get(payload[5:end])
        if content is None:
            # A delivery that was under way when its consumer was cancelled.
            self._expect(lambda _properties, _body: self.requeue(tag))
            return
        redelivered = bool(bits & _REDELIVERED)
        self._expect(
            lambda properties, body: content(tag, properties, body, redelivered=redelivered)
        )

    def on_confirm(self, payload: bytes, *, taken: bool) -> None:
        """The payload of a basic.ack or basic.nack for what was published."""
        tag, bits = _TAG.unpack_from(payload, 4)
        if not bits & _MULTIPLE:
            self._confirm(tag, taken=taken)
            return
        while self._unconfirmed and (first := next(iter(self._unconfirmed))) <= tag:
            self._confirm(first, taken=taken)

    def on_return(self, payload: bytes) -> None:
        """The payload of a basic.return; the content that follows is the message's own."""
        exchange_and_key = payload[7 + payload[6] :]
        self._expect(lambda properties, _body: self._returned(exchange_and_key, properties))

    def on_method(self, command: base.Frame) -> None:
        """Any other method."""
        match command:
            case commands.Channel.Close():
                self._wire.write(frames.method(self.number, commands.Channel.CloseOk()))
                self.end(ChannelClosed(command.reply_code or 0, command.reply_text or ""))
                self._wire.forget(self.number)
            case commands.Channel.CloseOk():
                self._reply(command)
                self.end(None)
                self._wire.forget(self.number)
            case commands.Basic.Cancel():
                self._on_server_cancel(command.consumer_tag or "")
            case commands.Channel.Flow():
                self._wire.write(
                    frames.method(self.number, commands.Channel.FlowOk(active=command.active))
                )
            case _:
                self._reply(command)

    def on_header(self, payload: bytes) -> None:
        """A content header: how long the body is, and the properties."""
        _, _, size = _CONTENT_HEADER.unpack_from(payload)
        if self._take is None or self._missing:
            self._wire.fail("a content header came where none belongs")
        elif size > self._wire.max_body:
            self._wire.fail(f"a message of {size:,} bytes is over the limit")
        else:
            self._properties = payload[_CONTENT_HEADER.size :]
            self._missing = size
            if not size:
                self._complete(b"")

    def on_body(self, payload: bytes) -> None:
        """A piece of a body."""
        if self._take is None or not 0 < len(payload) <= self._missing:
            self._wire.fail("a piece of a body came where none belongs")
            return
        self._missing -= len(payload)
        if self._missing:
            self._pieces.append(payload)
        elif self._pieces:
            self._pieces.append(payload)
            self._complete(b"".join(self._pieces))
        else:
            self._complete(payload)

    def end(self, error: BrokerUnavailable | None) -> None:
        """The channel is no more: whoever waits for something on it is told."""
        if self.closed.done():
            return
        fault = error or BrokerUnavailable("the channel was closed")
        for reply in self._replies:
            _fail(reply, fault)
        for publish in self._unconfirmed.values():
            _fail(publish.confirmed, fault)
        self._replies.clear()
        self._unconfirmed.clear()
        self._consumers.clear()
        if error is None:
            self.closed.set_result(None)
        else:
            self.closed.set_exception(error)
            self.closed.exception()  # Whoever looks at it later still gets it.

    def _expect(self, take: Callable[[bytes, bytes], None]) -> None:
        if self._take is not None:
            self._wire.fail("a message began before the one before it had ended")
        self._take = take

    def _complete(self, body: bytes) -> None:
        take, self._take = self._take, None
        properties, self._properties = self._properties, b""
        self._pieces.clear()
        if take is not None:
            take(properties, body)

    def _confirm(self, tag: int, *, taken: bool) -> None:
        publish = self._unconfirmed.pop(tag, None)
        if publish is None or publish.confirmed.done():
            return
        if taken:
            publish.confirmed.set_result(None)
        else:
            publish.confirmed.set_exception(Refused())

    def _returned(self, exchange_and_key: bytes, properties: bytes) -> None:
        # A return does not say which publish it answers. It comes before that one's confirm, in
        # the order of publishing, and with the message's id and where it was to go.
        id = decode_properties(properties, b"", 0.0, redelivered=False).message.id
        for publish in self._unconfirmed.values():
            same = publish.id == id and publish.target[6:-1] == exchange_and_key
            if same and not publish.confirmed.done():
                publish.confirmed.set_exception(Returned())
                return

    def _on_server_cancel(self, tag: str) -> None:
        self._consumers.pop(tag.encode(), None)
        if self.on_cancel is not None:
            self.on_cancel(tag)

    def _reply(self, command: base.Frame) -> None:
        if not self._replies:
            self._wire.fail(f"{command.name} answers nothing that was asked")
            return
        reply = self._replies.popleft()
        if not reply.done():
            reply.set_result(command)

    def _check_open(self) -> None:
        if self.closed.done():
            raise self.closed.exception() or BrokerUnavailable("the channel was closed")


def _fail(future: asyncio.Future[base.Frame] | asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # Nobody may be waiting any more; then nothing is to be reported.
