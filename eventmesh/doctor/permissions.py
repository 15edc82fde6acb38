"""Compares what the user of a service may do at RabbitMQ with what its code says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from eventmesh.brokers.rabbitmq.access.probes import Outcome, Probe, probes
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.management.prober import Prober
from eventmesh.model.errors import SettingsError
from eventmesh.model.value import value
from eventmesh.packaging.broker_export import rights_of
from eventmesh.service import Service

Verdict: TypeAlias = Literal["OK", "MISSING", "TOO MUCH"]

_EXPORT = "load what 'eventmesh export broker' writes of all services"


@value
class TriedRight:
    """One right that was tried, and what to do about it."""

    verdict: Verdict
    right: str
    what: str
    advice: str = ""


async def try_permissions(url: str, services: Sequence[Service]) -> list[TriedRight]:
    """Try each right of the user in the broker's URL, which is that of one of the services.

    Nothing is delivered to anybody, and nothing is left behind. Raises SettingsError if the user is
    none of the services', AccessDenied if RabbitMQ refuses the user, and BrokerUnavailable.
    """
    address = parse_address(url)
    if not address.per_service:
        raise SettingsError(
            "the broker's URL has one user for all services: set "
            "EVENTMESH_BROKER_USERS=per-service, and the user of one service in the URL"
        )
    service = next((each for each in services if each.name == address.user), None)
    if service is None:
        names = ", ".join(repr(each.name) for each in services) or "none was given"
        raise SettingsError(
            f"the user {address.user!r} of the broker's URL is none of the services ({names}): "
            "name the target of the service whose user it is"
        )
    async with Prober(address, "eventmesh doctor") as prober:
        return [judge(probe, await prober.ask(probe)) for probe in probes(rights_of(service))]


def has_differences(tried: Sequence[TriedRight]) -> bool:
    """Whether a right is missing, or one is too much."""
    return any(right.verdict != "OK" for right in tried)


def judge(probe: Probe, outcome: Outcome) -> TriedRight:
    """Compare what RabbitMQ answered with what the code says."""
    right = f"{probe.method} {probe.shown}" + (f" ({probe.pattern})" if probe.pattern else "")
    match probe.granted, outcome:
        case True, "allowed":
            return TriedRight("OK", right, "allowed")
        case True, "refused":
            return TriedRight("MISSING", right, "RabbitMQ refuses what the code needs", _EXPORT)
        case True, _:
            return TriedRight("MISSING", right, "the exchange does not exist", _EXPORT)
        case False, "refused":
            return TriedRight("OK", right, "refused")
        case _:
            return TriedRight(
                "TOO MUCH",
                right,
                "the user may do more than its code says",
                f"{_EXPORT}; if that changes nothing, the user is not the one that it writes",
            )
