"""Inspects a RabbitMQ without changing anything in it."""

from __future__ import annotations

import re
from typing import Final

from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from eventmesh.brokers.rabbitmq.access.names import Names
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.declarations import QueueDeclaration, Server, queue_arguments
from eventmesh.brokers.rabbitmq.delays import ladder_prefix, lost_name
from eventmesh.brokers.rabbitmq.endpoints import Endpoints
from eventmesh.brokers.rabbitmq.error_translation import check_away, translate_errors
from eventmesh.brokers.rabbitmq.management.connection import (
    ManagementConnection,
    OwnConnection,
    parse_version,
)
from eventmesh.brokers.rabbitmq.management.differences import INEQUIVALENT, NO_MATTER
from eventmesh.brokers.rabbitmq.management.stream_flag import (
    ADVICE,
    ALWAYS_ENABLED,
    is_stream_flag_enabled,
)
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS
from eventmesh.model.broker import (
    ArgumentDifference,
    BrokerCommands,
    BrokerInfo,
    LostMessages,
    QueueInfo,
)
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import NAME_PREFIX, Queue

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
"""The capabilities that a broker must have, by their names in RabbitMQ's server properties."""


DISABLED: Final = "its feature flag stream_queue is disabled, so messages with a delay may be lost"

TESTED: Final = ((3, 10), (4, 3))
"""The oldest and the newest version of RabbitMQ that eventmesh was tested with."""

COMMANDS: Final = BrokerCommands(
    delete_queue="rabbitmqctl delete_queue",
    purge_queue="rabbitmqctl purge_queue",
    list_consumers="rabbitmqctl list_consumers",
)


class RabbitInspector(OwnConnection):
    """Inspects the RabbitMQ at a URL, while entered.

    Every method may raise BrokerUnavailable and AccessDenied.
    """

    def __init__(self, url: str, name: str) -> None:
        """`name` is the connection's name in RabbitMQ's tools. Raises SettingsError."""
        address = parse_address(url)
        self._address = address
        self._name = name
        self._endpoints = Endpoints(address)
        super().__init__(ManagementConnection(address, name, endpoints=self._endpoints))
        # Comparing declares, which the user of one service, or a gateway, may not.
        self._compares = not address.per_service
        self._lost = lost_name(ladder_prefix(Names(address.user) if address.per_service else None))
        self._cluster = address.is_cluster

    async def server(self) -> BrokerInfo:
        """Return the broker's product, version, cluster and missing capabilities."""
        properties = await self._connection.server_properties()
        capabilities = properties.get("capabilities", {})
        version = str(properties.get("version", ""))
        enabled = parse_version(version) >= ALWAYS_ENABLED or await self._ask_for_flag()
        return BrokerInfo(
            disabled="" if enabled else DISABLED,
            enable="" if enabled else ADVICE,
            product=str(properties.get("product", "")),
            version=version,
            cluster=str(properties.get("cluster_name", "")),
            missing=tuple(name for name in NEEDED if not capabilities.get(name)),
            tested=is_tested(version),
            tested_versions=" to ".join(".".join(map(str, tested)) for tested in TESTED),
            commands=COMMANDS,
        )

    async def _ask_for_flag(self) -> bool:
        connection = ManagementConnection(
            self._address, f"{self._name}, asking", endpoints=self._endpoints
        )
        try:
            return await is_stream_flag_enabled(connection, f"{NAME_PREFIX}.check.")
        finally:
            await connection.close()

    async def describe(self, queue: Queue) -> QueueInfo | None:
        """Describe the queue; None if it does not exist. RabbitMQ reports only one difference."""
        try:
            counts = await self._count(queue.name, AWAY_SECONDS)
        except BrokerUnavailable as error:
            if not self._connection.is_open:
                raise
            return QueueInfo(0, 0, None, away=str(error))
        if counts is None:
            return None
        difference = await self._compare(queue) if queue.declare and self._compares else None
        return QueueInfo(*counts, difference)

    async def lost(self) -> LostMessages:
        """Count the messages that found no queue at the end of the delay ladder.

        With users for each service it is the ladder of the user of the URL.
        """
        messages, _ = await self._count(self._lost) or (0, 0)
        return LostMessages(self._lost, messages)

    async def _count(self, name: str, seconds: float | None = None) -> tuple[int, int] | None:
        """Count the waiting messages and the consumers of a queue; None if it does not exist."""
        async with (
            self._connection.channel() as channel,
            translate_errors(f"inspecting {name!r}", seconds),
        ):
            try:
                declared = await channel.queue_declare(name, passive=True)
            except ChannelNotFoundEntity as error:
                check_away(error)
                return None
        return declared.message_count or 0, declared.consumer_count or 0

    async def _compare(self, queue: Queue) -> ArgumentDifference | None:
        server = Server(await self._connection.server_version(), self._cluster)
        declaration = QueueDeclaration(queue.name, queue_arguments(queue, server))
        while True:
            difference = await self._find_difference(declaration)
            if difference is None or difference.argument not in NO_MATTER:
                return difference
            if difference.argument not in declaration.arguments:
                return None  # The queue has it, and the code does not: that matters as little.
            declaration = declaration.without(difference.argument)

    async def _find_difference(self, declaration: QueueDeclaration) -> ArgumentDifference | None:
        # The queue exists: so declaring it creates nothing, but compares the arguments.
        async with (
            self._connection.channel() as channel,
            translate_errors(f"inspecting {declaration.name!r}"),
        ):
            try:
                await channel.queue_declare(
                    declaration.name, durable=True, arguments=dict(declaration.arguments)
                )
            except ChannelPreconditionFailed as error:
                match = INEQUIVALENT.search(str(error))
                if match is None:
                    return ArgumentDifference("declaration", str(error), "otherwise")
                argument, found, wanted = match.group("argument", "found", "wanted")
                return ArgumentDifference(argument, _strip_type(found), _strip_type(wanted))
        return None


def is_tested(version: str) -> bool:
    """Return whether eventmesh was tested with a version."""
    oldest, newest = TESTED
    return oldest <= parse_version(version)[:2] <= newest


def _strip_type(text: str) -> str:
    """Return a value as RabbitMQ writes it, without its type."""
    return _TYPED.sub(r"\1", text)
