"""Whether a process is who it says, where each service has a user of the broker."""

from __future__ import annotations

from collections.abc import Collection

from eventmesh.presence.instance import Instance


def find_forgery(instance: Instance, sender: str, gateways: Collection[str]) -> str:
    """Return what an announcement says that its sender may not say; "" if it is believed.

    `sender` is the user of the broker who published it, as RabbitMQ has verified
    (https://www.rabbitmq.com/docs/validated-user-id), or "" if nobody did. A service speaks for
    itself alone, and only a gateway may be a process without a service.
    """
    if not sender:
        return "nobody has verified who sent it"
    if instance.stand_in:
        return "" if sender in gateways else "it stands in for a service, and is no gateway"
    if not instance.services:
        return "" if sender in gateways else "it is no service, and none of the gateways sent it"
    others = sorted(name for name in instance.services if name != sender)
    return f"it is sent in the name of {others[0]!r:.99}" if others else ""
