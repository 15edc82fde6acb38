"""What RabbitMQ's broker registers under `amqp://` and `amqps://`."""

from __future__ import annotations

from typing import Final

from eventmesh.abc import BrokerAdapter
from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector


class RabbitAdapter:
    """As `BrokerAdapter` says."""

    @property
    def shared(self) -> bool:
        """True: it is a server."""
        return True

    def open(self, url: str, name: str, *, connect_timeout: float | None) -> RabbitBroker:
        """The broker. None as `connect_timeout` also waits while the user is refused."""
        return RabbitBroker(url, name=name, connect_timeout=connect_timeout)

    def inspect(self, url: str, name: str) -> RabbitInspector:
        """The inspector, to be entered."""
        return RabbitInspector(url, name)


ADAPTER: Final[BrokerAdapter] = RabbitAdapter()
