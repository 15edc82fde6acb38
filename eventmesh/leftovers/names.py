"""The functions that services have declared, also those that no process has any more."""

from __future__ import annotations

from typing import Final

from eventmesh.abc import Broker, BrokerInspector
from eventmesh.aio.clock import Clock, SystemClock
from eventmesh.brokers.registry import find_adapter
from eventmesh.leftovers.index import read_services
from eventmesh.leftovers.record import read_record
from eventmesh.model.errors import AccessDenied

_NOBODY: Final[frozenset[str]] = frozenset()


async def list_recorded_functions(broker: Broker, url: str) -> frozenset[str]:
    """Return the functions in the records of all services at the broker, which `url` names.

    Those in records that the broker's user may not read are left out. Raises BrokerUnavailable.
    """
    async with find_adapter(url).inspect(url, "eventmesh records") as inspector:
        return await read_recorded_functions(broker, inspector, SystemClock())


async def read_recorded_functions(
    broker: Broker, inspector: BrokerInspector, clock: Clock
) -> frozenset[str]:
    """As `list_recorded_functions`, with an inspector of the broker."""
    try:
        services = sorted(await read_services(broker, inspector, clock))
    except AccessDenied:
        return _NOBODY
    names: set[str] = set()
    for service in services:
        try:
            names |= (await read_record(broker, inspector, clock, service)).functions.keys()
        except AccessDenied:
            continue  # The user of a service may read its own record alone.
    return frozenset(names)
