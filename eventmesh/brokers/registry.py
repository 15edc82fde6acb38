"""The choice of a broker: which adapter belongs to which scheme of URLs.

It is made here for all who open a broker: hosts, commands, clients and the doctor. An adapter is
imported when it is first needed. Other packages register theirs as an entry point of the group
`eventmesh.brokers`: its name is the scheme, its object a `BrokerAdapter`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

from eventmesh.abc import Broker, BrokerAdapter
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import scheme_of
from eventmesh.plugins import BROKERS, find_plugin

_BUILT_IN: Final = {
    "memory": "eventmesh.brokers.memory.adapter",
    "amqp": "eventmesh.brokers.rabbitmq.adapter",
    "amqps": "eventmesh.brokers.rabbitmq.adapter",
}
"""Modules whose `ADAPTER` is that of the scheme."""


def open_broker(url: str, name: str, *, connect_timeout: float | None = None) -> Broker:
    """The broker at a URL, to be entered, as `BrokerAdapter.open` says.

    Raises SettingsError for a URL that cannot be used.
    """
    return find_adapter(url).open(url, name, connect_timeout=connect_timeout)


def find_adapter(url: str) -> BrokerAdapter:
    """The adapter for the scheme of a URL. Raises SettingsError where none is registered."""
    scheme = scheme_of(url)
    if scheme in _BUILT_IN:
        built_in: BrokerAdapter = import_module(_BUILT_IN[scheme]).ADAPTER
        return built_in
    point = find_plugin(BROKERS, scheme)
    if point is None:
        raise _unknown(scheme)
    try:
        registered: BrokerAdapter = point.load()
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the broker for {scheme}:// cannot be loaded from {point.value!r}: {error}; repair or "
            "remove the package that registers it"
        ) from error
    return registered


def is_registered(scheme: str) -> bool:
    """Whether there is an adapter for URLs of a scheme. It is not imported."""
    return scheme in _BUILT_IN or find_plugin(BROKERS, scheme) is not None


def check_registered(url: str) -> None:
    """Raise SettingsError if there is no adapter for a URL. It is not imported."""
    scheme = scheme_of(url)
    if not is_registered(scheme):
        raise _unknown(scheme)


def check_shared(url: str) -> None:
    """Raise SettingsError for a broker that lives inside one process, and has no mesh to show."""
    if not find_adapter(url).shared:
        raise SettingsError(
            "the embedded broker has no other processes to ask: say where the mesh's RabbitMQ is, "
            "with --broker amqp://… or EVENTMESH_BROKER"
        )


def _unknown(scheme: str) -> SettingsError:
    return SettingsError(
        f"no broker is registered for {scheme}://: the broker's URL (EVENTMESH_BROKER or --broker) "
        "must be memory:// or amqp://USER:PASSWORD@HOST:PORT/VHOST (amqps:// for TLS), or of a "
        f"scheme that an installed package registers in the entry-point group {BROKERS!r}"
    )
