"""The names of all services that have a record: AMQP has no way to list queues."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import orjson
from pydantic import TypeAdapter, ValidationError

from eventmesh.abc import Broker, BrokerInspector
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.engine.codecs.json_bounds import check_nodes
from eventmesh.leftovers.record import LEASE_SECONDS
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, PayloadTooLarge
from eventmesh.model.topology import SERVICES, check_service, named

MAX_SERVICES: Final = 10_000

_NAMES: Final = TypeAdapter(list[str])

_log: Final = logging.getLogger(__name__)


async def list_service(broker: Broker, clock: Clock, service: str) -> None:
    """Enter a service into the list of all. Raises BrokerUnavailable and AccessDenied."""
    await _change(broker, clock, lambda names: {*names, service})


async def forget_service(broker: Broker, clock: Clock, service: str) -> None:
    """Take a service from the list. Raises BrokerUnavailable and AccessDenied."""
    await _change(broker, clock, lambda names: names - {service})


async def read_services(broker: Broker, inspector: BrokerInspector, clock: Clock) -> set[str]:
    """Return the services in the list. Raises BrokerUnavailable and AccessDenied."""
    if await inspector.describe(named(SERVICES, declare=False)) is None:
        return set()  # Asking for its lease would create it.
    return await _change(broker, clock, lambda names: names)


async def _change(broker: Broker, clock: Clock, change: Callable[[set[str]], set[str]]) -> set[str]:
    try:
        with TimeLimit(clock, LEASE_SECONDS):
            async with broker.lease(SERVICES) as lease:
                names = _load(lease.state)
                changed = change(names)
                if changed != names:
                    await lease.save(orjson.dumps(sorted(changed)[:MAX_SERVICES]))
                return changed
    except TimeoutError:
        raise BrokerUnavailable(
            f"the list of services, {SERVICES!r}, was in use for {LEASE_SECONDS:g} s: try again"
        ) from None


def _load(state: bytes) -> set[str]:
    """Read the list; any process may have written it, so that what is no name is left out."""
    if not state:
        return set()
    try:
        check_nodes(state)
        names = _NAMES.validate_json(state)
    except (PayloadTooLarge, ValidationError):
        _log.warning("the list of services cannot be read, and begins anew: %.100r", state)
        return set()
    return set(filter(_is_service, names))


def _is_service(name: str) -> bool:
    try:
        return bool(check_service(name))
    except DeclarationError:
        return False
