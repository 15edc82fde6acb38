"""Looking into a RabbitMQ without changing anything in it."""

from __future__ import annotations

import re
from types import TracebackType
from typing import Final, Self

from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.declarations import queue_arguments
from eventmesh.brokers.rabbitmq.delays import LOST
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection, parse_version
from eventmesh.brokers.rabbitmq.management.management import INEQUIVALENT
from eventmesh.model.broker import (
    ArgumentDifference,
    BrokerCommands,
    BrokerInfo,
    LostMessages,
    QueueInfo,
)
from eventmesh.model.topology import Queue

_TYPED: Final = re.compile(r"the value ('.*') of type '\w+'")

NEEDED: Final = (
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "direct_reply_to",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
)
"""What a broker has to be capable of, in the words of RabbitMQ's server properties."""


TESTED: Final = ((3, 10), (4, 3))
"""The oldest and the newest version of RabbitMQ that eventmesh was tested with."""

COMMANDS: Final = BrokerCommands(
    delete_queue="rabbitmqctl delete_queue",
    purge_queue="rabbitmqctl purge_queue",
    list_consumers="rabbitmqctl list_consumers",
)


class RabbitInspector:
    """Looks into the RabbitMQ at a URL, while entered.

    Everything may raise BrokerUnavailable and AccessDenied.
    """

    def __init__(self, url: str, name: str) -> None:
        """`name` is what RabbitMQ's tools call the connection. Raises SettingsError."""
        self._connection = ManagementConnection(parse_address(url), name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def server(self) -> BrokerInfo:
        """What the broker says of itself."""
        properties = await self._connection.server_properties()
        capabilities = properties.get("capabilities", {})
        version = str(properties.get("version", ""))
        return BrokerInfo(
            product=str(properties.get("product", "")),
            version=version,
            cluster=str(properties.get("cluster_name", "")),
            missing=tuple(name for name in NEEDED if not capabilities.get(name)),
            tested=is_tested(version),
            tested_versions=" to ".join(".".join(map(str, one)) for one in TESTED),
            commands=COMMANDS,
        )

    async def describe(self, queue: Queue) -> QueueInfo | None:
        """The queue as it is; None if it is not there. RabbitMQ tells one difference at a time."""
        there = await self._counts(queue.name)
        if there is None:
            return None
        difference = await self._difference(queue) if queue.declare else None
        return QueueInfo(*there, difference)

    async def lost(self) -> LostMessages:
        """The messages that came to the end of the delay ladder and found no queue."""
        messages, _ = await self._counts(LOST) or (0, 0)
        return LostMessages(LOST, messages)

    async def _counts(self, name: str) -> tuple[int, int] | None:
        """Messages that wait in a queue, and its consumers; None if it is not there."""
        async with self._connection.channel() as channel, translate_errors(f"looking at {name!r}"):
            try:
                there = await channel.queue_declare(name, passive=True)
            except ChannelNotFoundEntity:
                return None
        return there.message_count or 0, there.consumer_count or 0

    async def _difference(self, queue: Queue) -> ArgumentDifference | None:
        # It is there: so declaring it makes nothing, but compares.
        async with (
            self._connection.channel() as channel,
            translate_errors(f"looking at {queue.name!r}"),
        ):
            try:
                await channel.queue_declare(
                    queue.name, durable=True, arguments=dict(queue_arguments(queue))
                )
            except ChannelPreconditionFailed as error:
                told = INEQUIVALENT.search(str(error))
                if told is None:
                    return ArgumentDifference("something", str(error), "what the code says")
                argument, there, wanted = told.group("argument", "found", "wanted")
                return ArgumentDifference(argument, _plain(there), _plain(wanted))
        return None


def is_tested(version: str) -> bool:
    """Whether a version is among those that eventmesh was tested with."""
    oldest, newest = TESTED
    return oldest <= parse_version(version)[:2] <= newest


def _plain(text: str) -> str:
    """A value as RabbitMQ writes it, without its type."""
    return _TYPED.sub(r"\1", text)
