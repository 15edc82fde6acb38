"""Errors of connections that could not be opened: one wording for both AMQP clients."""

from __future__ import annotations

from typing import Final

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError

ACCESS_REFUSED: Final = 403
NOT_ALLOWED: Final = 530
"""The reply codes with which RabbitMQ refuses a user and a virtual host."""


def connect_error(address: Address, reason: str, reply_code: int = 0) -> InvocationError:
    """Build the error to raise: AccessDenied for a refusal, else BrokerUnavailable.

    `reason` is the text of RabbitMQ or the network, and `reply_code` is RabbitMQ's.
    """
    if reply_code == ACCESS_REFUSED:
        return AccessDenied(
            f"{address!r} refused the user {address.user!r} ({reason}): check the name and the "
            "password, and that the user may log in from here (guest may from the broker's own "
            "machine only)"
        )
    if reply_code == NOT_ALLOWED:
        return AccessDenied(
            f"{address!r} refused the virtual host {address.virtual_host!r} ({reason}): create it, "
            f"or give the user {address.user!r} permissions in it"
        )
    return BrokerUnavailable(f"{address!r} cannot be reached: {reason}")
