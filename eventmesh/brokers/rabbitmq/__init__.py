"""The broker for production: RabbitMQ."""

from __future__ import annotations

from eventmesh.brokers.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitBroker"]
