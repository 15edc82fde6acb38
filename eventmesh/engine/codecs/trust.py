"""What of a message's own account of who sent it is believed, decided where it arrives first.

A broker with one account for all services cannot tell them apart: there, everything is believed,
and nothing is looked at. With a user for each service RabbitMQ says who published a message
(https://www.rabbitmq.com/docs/validated-user-id), and the rest must agree with that.

What is not believed is removed before anything else sees the message. So a retry or a dead letter,
which its own service publishes, has only what was believed before, and is believed again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeAlias
from urllib.parse import parse_qs

from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.value import value

Believe: TypeAlias = Callable[[Message], Message]


@value
class Trust:
    """Who is believed where each service has a user of the broker, with the service's name.

    `service` is the receiving service; `gateways` are users that are believed whoever they name:
    they know who called over HTTP, and redrive dead letters of any function.
    """

    service: str
    gateways: Collection[str]


def believe(message: Message, trust: Trust) -> Message:
    """Return the message with what its sender may say of itself, and nothing else.

    Its `caller` counts if the user of that function's service sent it, and its `principal` if a
    gateway did. The receiver's own service is believed both: it says what it believed before.
    """
    if not message.caller and not message.principal:
        return message
    sender = message.sender
    if sender and (sender == trust.service or sender in trust.gateways):
        return message
    service, _, _ = message.caller.partition(".")
    caller = message.caller if sender and sender == service else ""
    return replace(message, caller=caller, principal="")


def believe_for(settings: Settings, service: str) -> Believe | None:
    """Return what to ask about each message to a service; None where everything is believed."""
    return believe_as(service, gateways_of(settings))


def believe_as(service: str, gateways: Collection[str] | None) -> Believe | None:
    """Return the same for these gateways; None where there are none, with one user for all."""
    if gateways is None:
        return None
    trust = Trust(service, gateways)
    return lambda message: believe(message, trust)


def gateways_of(settings: Settings) -> frozenset[str] | None:
    """Return the users of gateways; None where all services have one user.

    The settings say that each has its own, or the broker's URL does.
    """
    if settings.broker_users != "shared":
        return frozenset(settings.gateways)
    return gateways_in(settings.broker)


def gateways_in(url: str) -> frozenset[str] | None:
    """Return the users of gateways that a broker's URL names; None with one user for all services.

    The options are those of `eventmesh.brokers.rabbitmq.address.parse_address`.
    """
    # Not with urlsplit, which refuses some lists of hosts.
    options = parse_qs(url.partition("?")[2])
    if "users" not in options:
        return None
    return frozenset(filter(None, options.get("gateways", [""])[-1].split(",")))
