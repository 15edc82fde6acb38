"""One channel: method calls and their replies, contents, confirms and consumers."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable
from itertools import count
from struct import Struct
from typing import Final, Protocol

from pamqp import base, commands

from eventmesh.brokers.rabbitmq.amqp import frames
from eventmesh.brokers.rabbitmq.amqp.confirms import Confirms
from eventmesh.brokers.rabbitmq.limits import MAX_PREFETCH
from eventmesh.brokers.rabbitmq.timing import CALL_SECONDS
from eventmesh.model.errors import BrokerUnavailable, PayloadInvalid

_log: Final = logging.getLogger("eventmesh.rabbitmq")

_TAG: Final = Struct(">QB")
_CONTENT_HEADER: Final = Struct(">HHQ")
_REDELIVERED: Final = 1
_PUBLISH_REFUSED: Final = (403, 60, 40)
"""The reply code, the class and the method of a basic.publish that the user has no right to."""
_EXCHANGE: Final = re.compile(r"exchange '(.*?)' in vhost")
_DEFAULT_EXCHANGE: Final = "amq.default"


class DeliveryCallback(Protocol):
    """Takes a message. Called by the reader: it returns at once and does not raise."""

    def __call__(self, tag: int, properties: bytes, body: bytes, *, redelivered: bool) -> None: ...


class _Content:
    """A message of which not all frames have come.

    The method comes first: frames.DELIVER, whose `target` is the tag of a consumer, or
    frames.RETURN, whose `target` is an exchange and a routing key. The header follows and says how
    many bytes of the body are `missing`. A body of several frames is collected in `pieces`.
    """

    __slots__ = ("bits", "kind", "missing", "pieces", "properties", "tag", "target")

    def __init__(self, kind: bytes, target: bytes, tag: int = 0, bits: int = 0) -> None:
        self.kind = kind
        self.target = target
        self.tag = tag
        self.bits = bits
        self.properties = b""
        self.missing = 0
        self.pieces: bytearray | None = None


class ChannelConnection(Protocol):
    """The interface of a connection that its channels use."""

    @property
    def frame_max(self) -> int: ...
    @property
    def max_body(self) -> int: ...
    def write(self, data: bytes) -> None: ...
    def fail(self, reason: str) -> None: ...
    def release_channel(self, channel: int) -> None: ...


class Channel:
    """A channel. `closed` is done, with the reason, when it is not open any more.

    `paused` says whether the broker has asked not to publish on it (channel.flow). Acks and
    requeues on a channel that is closed or closing have no effect: the broker has requeued its
    deliveries.
    """

    def __init__(self, connection: ChannelConnection, number: int) -> None:
        self.number = number
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.confirms = Confirms()
        self.paused = False
        self.on_cancel: Callable[[str], None] | None = None
        self._connection = connection
        self._is_open = True
        self._calls: deque[tuple[base.Frame, asyncio.Future[base.Frame]]] = deque()
        self._consumers: dict[bytes, DeliveryCallback] = {}
        self._tags = count()
        self._content: _Content | None = None
        self._delivered = b""

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._is_open

    @property
    def exchange(self) -> str:
        """To which exchange the message was published that a consumer is called with."""
        payload = self._delivered
        place = 5 + payload[4] + _TAG.size
        return payload[place + 1 : place + 1 + payload[place]].decode(errors="replace")

    # Calls

    async def call(self, command: base.Frame) -> base.Frame:
        """Send a method and wait for its reply. Raises BrokerUnavailable.

        The reply to a cancelled caller still comes, and is awaited: replies have no numbers, only
        an order (AMQP 0-9-1, section 2.2.2).
        """
        self._check_open()
        data = frames.method(self.number, command)
        reply: asyncio.Future[base.Frame] = asyncio.get_running_loop().create_future()
        self._calls.append((command, reply))
        self._connection.write(data)
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await reply
        except TimeoutError:
            self._connection.fail(
                f"RabbitMQ did not answer {command.name} within {CALL_SECONDS:g} s"
            )
            raise BrokerUnavailable(self._why_closed()) from None

    async def consume(
        self, queue: str, prefetch: int, callback: DeliveryCallback, *, no_ack: bool = False
    ) -> str:
        """Start a consumer with a prefetch of its own, and return its tag.

        The prefetch applies to the consumer, not to the channel: RabbitMQ interprets `global` that
        way (https://www.rabbitmq.com/docs/consumer-prefetch).
        """
        tag = f"c{self.number}.{next(self._tags)}"
        if prefetch:
            count = min(prefetch, MAX_PREFETCH)
            await self.call(commands.Basic.Qos(prefetch_count=count, global_=False))
        self._consumers[tag.encode()] = callback
        await self.call(commands.Basic.Consume(queue=queue, consumer_tag=tag, no_ack=no_ack))
        return tag

    async def cancel(self, tag: str) -> None:
        """Cancel a consumer, if it has not ended. Nothing is delivered to it after that."""
        if tag.encode() not in self._consumers:
            return
        await self.call(commands.Basic.Cancel(consumer_tag=tag))
        self._consumers.pop(tag.encode(), None)

    async def stop_consuming(self) -> None:
        """Cancel all its consumers."""
        for tag in list(self._consumers):
            await self.cancel(tag.decode())

    def abandon(self) -> None:
        """Close the channel without waiting; the broker requeues unacked deliveries."""
        if not self._is_open:
            return
        self._is_open = False
        self._consumers.clear()
        close = commands.Channel.Close(reply_code=200, reply_text="done", class_id=0, method_id=0)
        self._connection.write(frames.method(self.number, close))

    async def close(self) -> None:
        """Close the channel and wait for that. A broker that is silent costs the connection."""
        self.abandon()
        await asyncio.wait((self.closed,), timeout=CALL_SECONDS)
        if not self.closed.done():
            self._connection.fail(f"RabbitMQ did not close a channel within {CALL_SECONDS:g} s")

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge one delivery, or all up to it."""
        if self._is_open:
            self._connection.write(frames.ack(self.number, tag, multiple=multiple))

    def requeue(self, tag: int) -> None:
        """Requeue a delivery."""
        if self._is_open:
            self._connection.write(frames.requeue(self.number, tag))

    # Publishing

    def publish(
        self, target: bytes, properties: bytes, body: bytes, id: str
    ) -> asyncio.Future[None]:
        """Publish on a channel in confirm mode; `id` is the message id in the properties.

        The future is done when the broker holds the message. It raises Refused, Returned, or
        BrokerUnavailable if the channel ends first: then the outcome is unknown.

        Raises PayloadInvalid for headers that are too large, and BrokerUnavailable.
        """
        self.publish_unconfirmed(target, properties, body)
        return self.confirms.add(target, id)

    def publish_unconfirmed(self, target: bytes, properties: bytes, body: bytes) -> None:
        """Publish on a channel without confirm mode."""
        self._check_open()
        frame_max = self._connection.frame_max
        if len(properties) > frame_max - frames.HEADER_OVERHEAD:
            # The broker would end the whole connection (AMQP 0-9-1, section 4.2.6).
            raise PayloadInvalid(
                f"the message has {len(properties):,} bytes of headers, and they must fit into one "
                f"frame of {frame_max:,} bytes: put long values into the body"
            )
        self._connection.write(frames.publish(self.number, target, properties, body, frame_max))

    # Calls from the connection

    def on_deliver(self, payload: bytes) -> None:
        """Handle the payload of a basic.deliver; the frames that follow are its content."""
        end = 5 + payload[4]
        tag, bits = _TAG.unpack_from(payload, end)
        self._delivered = payload
        self._begin(_Content(frames.DELIVER, payload[5:end], tag, bits))

    def on_return(self, payload: bytes) -> None:
        """Handle the payload of a basic.return; the frames that follow are its content."""
        self._begin(_Content(frames.RETURN, payload[7 + payload[6] :]))

    def on_method(self, command: base.Frame) -> None:
        """Handle any other method."""
        match command:
            case commands.Channel.Close():
                self._on_close(command)
            case commands.Channel.CloseOk() if not self._is_open:
                self.end("it was closed from here")
                self._connection.release_channel(self.number)
            case commands.Basic.Cancel():
                self._on_server_cancel(command.consumer_tag or "")
            case commands.Channel.Flow():
                self.paused = not command.active
                self._connection.write(
                    frames.method(self.number, commands.Channel.FlowOk(active=command.active))
                )
            case _:
                self._on_reply(command)

    def on_header(self, payload: bytes) -> None:
        """Handle a content header: the length of the body, and the properties."""
        content = self._content
        _, _, size = _CONTENT_HEADER.unpack_from(payload)
        if content is None or content.missing:
            self._connection.fail("a content header came where none belongs")
        elif size > self._connection.max_body:
            self._connection.fail(f"a message of {size:,} bytes is over RabbitMQ's own limit")
        else:
            content.properties = payload[_CONTENT_HEADER.size :]
            content.missing = size
            if not size:
                self._complete(content, b"")

    def on_body(self, payload: bytes) -> None:
        """Handle a piece of a body."""
        content = self._content
        if content is None or not 0 < len(payload) <= content.missing:
            self._connection.fail("a piece of a body came where none belongs")
            return
        content.missing -= len(payload)
        if content.pieces is None:
            if not content.missing:
                self._complete(content, payload)
                return
            content.pieces = bytearray()
        # Joined at once: a list of small pieces would be far larger than the body.
        content.pieces += payload
        if not content.missing:
            self._complete(content, bytes(content.pieces))

    def _begin(self, content: _Content) -> None:
        if self._content is not None:
            self._connection.fail("a message began before the one before it had ended")
        self._content = content

    def _complete(self, content: _Content, body: bytes) -> None:
        """Call the consumer of a message whose frames have all come."""
        self._content = None
        if content.kind == frames.RETURN:
            self.confirms.on_return(content.target, content.properties)
            return
        callback = self._consumers.get(content.target)
        if callback is None:  # It was under way when its consumer was cancelled.
            self.requeue(content.tag)
        else:
            redelivered = bool(content.bits & _REDELIVERED)
            try:
                callback(content.tag, content.properties, body, redelivered=redelivered)
            except Exception:  # noqa: BLE001
                # One message that a consumer cannot take must not end the connection of all.
                _log.exception("a consumer failed with the message %d", content.tag)

    def end(self, reason: str, refused: str | None = None) -> None:
        """End the channel, and fail everything that waits for it.

        `refused` is the exchange to which the user may not publish, if that is the reason.
        """
        if self.closed.done():
            return
        self._is_open = False
        why = f"the channel to RabbitMQ ended: {reason}"
        if refused is not None:
            # Before `closed`: who was refused is told that, and not that the channel is gone.
            self.confirms.end(why, refused)
        self.closed.set_result(reason)
        self._consumers.clear()
        for _, reply in self._calls:
            if not reply.done():
                reply.set_exception(BrokerUnavailable(self._why_closed()))
                reply.exception()  # Marks it as retrieved: its caller may be gone.
        self._calls.clear()
        self.confirms.end(why)

    def _on_close(self, command: commands.Channel.Close) -> None:
        self._connection.write(frames.method(self.number, commands.Channel.CloseOk()))
        # If our own close is under way, its reply is still to come, and the number is not free.
        answered = self._is_open
        self.end(
            f"RabbitMQ closed it: {command.reply_code} {command.reply_text}",
            _refused_exchange(command),
        )
        if answered:
            self._connection.release_channel(self.number)

    def _on_server_cancel(self, tag: str) -> None:
        self._consumers.pop(tag.encode(), None)
        if self.on_cancel is not None:
            self.on_cancel(tag)

    def _on_reply(self, command: base.Frame) -> None:
        if not self._calls or command.name not in self._calls[0][0].valid_responses:
            self._connection.fail(f"{command.name} answers nothing that was asked")
            return
        _, reply = self._calls.popleft()
        if not reply.done():
            reply.set_result(command)

    def _check_open(self) -> None:
        if not self._is_open:
            raise BrokerUnavailable(self._why_closed())

    def _why_closed(self) -> str:
        reason = self.closed.result() if self.closed.done() else "it is being closed"
        return f"the channel to RabbitMQ ended: {reason}"


def _refused_exchange(close: commands.Channel.Close) -> str | None:
    """Return the exchange to which RabbitMQ did not let a message go; None for other reasons."""
    if (close.reply_code, close.class_id, close.method_id) != _PUBLISH_REFUSED:
        return None
    found = _EXCHANGE.search(close.reply_text)
    return None if found is None else found[1].replace(_DEFAULT_EXCHANGE, "")
