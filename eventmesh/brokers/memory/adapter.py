"""The adapter that is registered for `memory://`."""

from __future__ import annotations

from typing import Final, NoReturn

from eventmesh.abc import BrokerAdapter
from eventmesh.brokers.memory.broker import MemoryBroker
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import MEMORY


class MemoryAdapter:
    """Makes a new broker each time: it lives inside its process and holds nothing before."""

    @property
    def shared(self) -> bool:
        """False: nothing outside its process can reach it."""
        return False

    def open(self, url: str, name: str, *, connect_timeout: float | None) -> MemoryBroker:
        """Make a broker. Its connections are none, so that the other arguments do not matter."""
        del name, connect_timeout
        _check(url)
        return MemoryBroker()

    def inspect(self, url: str, name: str) -> NoReturn:
        """Raise SettingsError: a new broker holds nothing to look into."""
        del name
        _check(url)
        raise SettingsError("the embedded broker lives inside its process: it cannot be inspected")


def _check(url: str) -> None:
    if url != MEMORY:
        raise SettingsError(f"the URL of the embedded broker is {MEMORY!r}, with nothing behind it")


ADAPTER: Final[BrokerAdapter] = MemoryAdapter()
