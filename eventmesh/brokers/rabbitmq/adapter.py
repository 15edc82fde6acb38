"""The adapter that is registered for `amqp://` and `amqps://`."""

from __future__ import annotations

from typing import Final

from eventmesh.abc import BrokerAdapter
from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector


class RabbitAdapter:
    """Opens and inspects RabbitMQ; see `BrokerAdapter`."""

    @property
    def shared(self) -> bool:
        """True: it is a server."""
        return True

    def open(self, url: str, name: str, *, connect_timeout: float | None) -> RabbitBroker:
        """Return the broker. `connect_timeout=None` also waits while the user is refused."""
        return RabbitBroker(url, name=name, connect_timeout=connect_timeout)

    def inspect(self, url: str, name: str) -> RabbitInspector:
        """Return the inspector, which is a context manager."""
        return RabbitInspector(url, name)


ADAPTER: Final[BrokerAdapter] = RabbitAdapter()
