"""Logs one line for each outage of a process's connections, not one for each lost connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.timing import HEARTBEAT_SECONDS
from eventmesh.model.errors import AccessDenied

SAME_OUTAGE_SECONDS: Final = 2.0 * HEARTBEAT_SECONDS
"""Losses within these seconds are one outage: connections may notice it this far apart."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class ConnectionLog:
    """Logs one warning when the connections of a process are lost, and one line when they are back.

    The warning has the first reason. Until all connections are back, all other events of them and
    of their consumers are logged at DEBUG. Only a refused login causes another warning, because it
    needs somebody to act.
    """

    def __init__(self, name: str, address: Address) -> None:
        """`name` is the name of the process."""
        self._name = name
        self._address = address
        self._down: set[str] = set()
        self._refusals: set[str] = set()
        self._reported = False
        self._reported_at = self._restored_at = float("-inf")

    def watch(self, connection: str) -> None:
        """Expect a connection that is supervised: opened, and again whenever it is lost."""
        self._down.add(connection)

    def log_connected(self, connection: str, address: Address) -> None:
        """Log that a supervised connection is open to this address."""
        _log.debug("%s: connected to %r", connection, address)
        self._down.discard(connection)
        if self._down:
            return
        _log.info("%s: connected to %r", self._name, address)
        if self._reported:
            self._restored_at = _now()
        self._reported, self._reported_at = False, float("-inf")
        self._refusals.clear()

    def log_lost(self, connection: str, reason: str) -> None:
        """Log that a supervised connection was lost, or could not be opened."""
        known = self._reported and (bool(self._down) or _is_recent(self._reported_at))
        self._down.add(connection)
        self._report(connection, reason, known=known)

    def log_refused(self, connection: str, error: AccessDenied) -> None:
        """Log that RabbitMQ refused the login of a supervised connection, or its preparation."""
        known = str(error) in self._refusals
        self._down.add(connection)
        self._refusals.add(str(error))
        self._report(connection, str(error), known=known)

    def log_unused_lost(self, connection: str, reason: str) -> None:
        """Log the loss of a connection that is opened again only when it is needed."""
        recent = _is_recent(self._reported_at) or _is_recent(self._restored_at)
        self._report(connection, reason, known=bool(self._down) or recent)

    def _report(self, connection: str, reason: str, *, known: bool) -> None:
        if known:
            _log.debug("%s: %s", connection, reason)
            return
        _log.warning("%s: %s; trying again until it works", self._name, reason)
        self._reported = True
        self._reported_at = _now()


def _is_recent(moment: float) -> bool:
    return _now() - moment < SAME_OUTAGE_SECONDS


def _now() -> float:
    return asyncio.get_running_loop().time()
