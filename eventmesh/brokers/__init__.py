"""What carries messages: the embedded broker and RabbitMQ, under one contract."""

from __future__ import annotations

from eventmesh.abc import Broker
from eventmesh.model.settings import MEMORY


def broker_at(url: str, name: str, *, connect_timeout: float | None = None) -> Broker:
    """The broker that a URL names, to be entered: "memory://", "amqp://…" or "amqps://…".

    `name` is what RabbitMQ's tools call its connections, and `connect_timeout` how many seconds
    entering waits for them; None is for as long as it takes, also where the user is refused.

    Raises SettingsError for a URL that cannot be used.
    """
    if url == MEMORY:
        from eventmesh.brokers.memory import MemoryBroker  # noqa: PLC0415 - one of the two is used

        return MemoryBroker()
    from eventmesh.brokers.rabbitmq import RabbitBroker  # noqa: PLC0415 - one of the two is used

    return RabbitBroker(url, name=name, connect_timeout=connect_timeout)
