"""What to do about a queue or exchange that exists with other arguments than were declared."""

from __future__ import annotations

import logging
import re
from typing import Final

from eventmesh.brokers.rabbitmq.declarations import (
    CONSUMER_TIMEOUT,
    LEADER_LOCATOR,
    Declaration,
    QueueDeclaration,
)
from eventmesh.model.errors import DeclarationError

INEQUIVALENT: Final = re.compile(
    r"inequivalent arg '(?P<argument>[^']*)' for .*?: "
    r"received (?P<wanted>.*?) but current is (?P<found>.*)"
)
"""RabbitMQ's text when it exists with other arguments; it names the first one that differs."""

NO_MATTER: Final = frozenset((LEADER_LOCATOR, CONSUMER_TIMEOUT))
"""Arguments in which a queue that exists may differ: it works as well as it did without them."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class Differences:
    """The differences that one process has found, each of which it logs once.

    `other_type` has the queues that are used although they have another type. They are looked for
    and not declared, which says whether they are there.
    """

    def __init__(self, cluster: bool) -> None:  # noqa: FBT001 - there is nothing else
        self.other_type: set[str] = set()
        self._cluster = cluster
        self._logged: set[str] = set()

    def find(self, declaration: Declaration, name: str, reason: str) -> Declaration | None:
        """Return what to declare in place of that which RabbitMQ refused for a reason; or None.

        Raises DeclarationError if nothing is there that could be used as it is.
        """
        difference = INEQUIVALENT.search(reason)
        if difference is None:
            raise DeclarationError(f"RabbitMQ does not create {name!r}: {reason}")
        argument, found, wanted = difference.group("argument", "found", "wanted")
        if isinstance(declaration, QueueDeclaration):
            if argument in NO_MATTER:
                known = argument in declaration.arguments
                return declaration.without(argument) if known else None
            if argument == "x-queue-type" and declaration.any_type:
                self.other_type.add(name)
                self._log_type(name, found)
                return declaration
        self._log_argument(name, argument, found, wanted)
        return None

    def forget_type(self, name: str) -> bool:
        """Declare a queue from now on; returns whether it was known to have another type."""
        if name not in self.other_type:
            return False
        self.other_type.discard(name)
        self._logged.discard(name)
        return True

    def _log_type(self, name: str, found: str) -> None:
        if name in self._logged:
            return
        self._logged.add(name)
        if not self._cluster:
            _log.info("%r is %s, as on a cluster, and is used as it is", name, found)
            return
        _log.warning(
            "%r is %s: what made it does not know that RabbitMQ is a cluster. It is used as it is, "
            "but goes away with its node. Set EVENTMESH_BROKER_CLUSTER=true for all services, then "
            "delete it ('rabbitmqctl delete_queue'): it is created anew at once",
            name,
            found,
        )

    def _log_argument(self, name: str, argument: str, found: str, wanted: str) -> None:
        if name in self._logged:
            return
        self._logged.add(name)
        _log.warning(
            "%r exists already: its %s is %s and this version of the code wants %s. It is used as "
            "it is. To change it, stop its users, let it run empty and delete it ('rabbitmqctl "
            "delete_queue' for a queue): it is then created anew. 'eventmesh doctor' lists all "
            "such differences",
            name,
            argument,
            found,
            wanted,
        )
