"""Declares what a process needs, as patiently as it waits for its first connections."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.brokers.rabbitmq.timing import backoff
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import Binding, Queue

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class Declaring:
    """The declarations of a process, and which of them its consumers need not repeat."""

    def __init__(
        self, management: Management, consuming: ReconnectingConnection, timeout: float | None
    ) -> None:
        """`timeout` limits the wait, in seconds; None for no limit."""
        self._management = management
        self._consuming = consuming
        self._timeout = timeout
        self._declared: dict[str, int] = {}
        """By the names of queues that no consumer has begun with since, how many connections had
        been lost when they were declared."""

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding]) -> None:
        """Declare, and wait while RabbitMQ cannot do it now.

        Too few of its nodes may be there, or not the one that has a queue.
        """
        told = ""
        ends = None if self._timeout is None else _now() + self._timeout
        for wait in backoff():
            try:
                await self._declare_now(queues, bindings)
                return
            except BrokerUnavailable as error:
                if self._consuming.closed_for_good or (ends is not None and _now() + wait > ends):
                    raise
                if str(error) != told:
                    told = str(error)
                    _log.warning("queues cannot be declared now, trying again: %s", error)
            await asyncio.sleep(wait)

    async def _declare_now(self, queues: Sequence[Queue], bindings: Sequence[Binding]) -> None:
        generation = self._management.connection_generation
        try:
            await self._management.declare(queues, bindings)
        except QueueAway as error:
            if any(queue.kind != "rpc" for queue in queues) or bindings:
                raise
            # Its consumer declares it once its node is back. The others have theirs now.
            for queue in queues:
                try:
                    await self._management.declare([queue])
                except QueueAway:
                    _log.warning("%s is not served for the time being: %s", queue.name, error)
        else:
            self._declared |= dict.fromkeys((queue.name for queue in queues), generation)

    def take_declared(self, queue: Queue) -> bool:
        """Whether a queue was declared a moment ago; True once, for the consumer that begins.

        At any later time it may have been deleted.
        """
        return self._declared.pop(queue.name, None) == self._management.connection_generation


def _now() -> float:
    return asyncio.get_running_loop().time()
