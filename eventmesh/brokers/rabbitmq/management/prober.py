"""Tries the rights of a user at RabbitMQ, without an effect on anybody; see `access/probes.py`."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, DeliveryError
from pamqp.commands import Basic

from eventmesh.brokers.rabbitmq.access.names import REPLIES, Names
from eventmesh.brokers.rabbitmq.access.probes import Outcome, Probe
from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection, OwnConnection

_ON_EXCHANGES: Final = frozenset(("publish", "subscribe"))


class Prober(OwnConnection):
    """Tries one right after the other, while entered; `address` has the user.

    RabbitMQ writes each refusal into its log. `ask` raises BrokerUnavailable.
    """

    def __init__(self, address: Address, name: str) -> None:
        super().__init__(ManagementConnection(address, name))
        self._own_queue = Names(address.user).reply_queues + token_hex(8)

    async def ask(self, probe: Probe) -> Outcome:
        """Try it, and say what RabbitMQ answered."""
        # A refusal closes the channel.
        async with (
            self._connection.channel(confirms=True) as channel,
            translate_errors(f"trying to {probe.method} {probe.name!r}"),
        ):
            try:
                await self._try(channel, probe)
                if probe.granted and probe.method in _ON_EXCHANGES:
                    await channel.exchange_declare(probe.name, passive=True)
            except ChannelAccessRefused:
                return "refused"
            except ChannelNotFoundEntity:
                # RabbitMQ asks for the right before it looks. A queue is made when it is needed.
                return "absent" if probe.method in _ON_EXCHANGES else "allowed"
            return "allowed"

    async def _try(self, channel: AbstractChannel, probe: Probe) -> None:
        match probe.method:
            case "declare":
                await channel.queue_delete(probe.name, if_unused=True, if_empty=True)
            case "consume":
                await channel.queue_purge(probe.name)
            case "publish":
                # All may bind to em.replies; with this key nothing is bound.
                await channel.exchange_unbind(probe.name, REPLIES, token_hex(16))
            case "subscribe":
                # An exclusive queue, which is gone with the connection.
                await channel.queue_declare(self._own_queue, exclusive=True, auto_delete=True)
                await channel.queue_unbind(self._own_queue, probe.name, probe.pattern)
            case "send by name":
                try:
                    await channel.basic_publish(
                        b"",
                        routing_key=probe.name,
                        mandatory=True,
                        properties=Basic.Properties(),
                    )
                except DeliveryError:
                    return  # It was allowed, and there is no such queue.
