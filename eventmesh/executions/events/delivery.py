"""Finds the executions that wait for an event, and lets them go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.completion import DURABLE, EVENT
from eventmesh.durable.errors import ExecutionNotFound
from eventmesh.durable.keeper import Keeper
from eventmesh.durable.outcomes import deliver_event
from eventmesh.durable.subscription import find_subscriptions
from eventmesh.executions.events.record import EventRecord
from eventmesh.executions.messages.contents import send_commands
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message

MAX_DELIVERED: Final = 200
"""Operations that get an event in one run; the rest gets it in another one."""

_log: Final = logging.getLogger(__name__)


class EventDelivery:
    """Delivers events to the executions of one function."""

    def __init__(self, function: str, keeper: Keeper, clock: Clock, transport: Transport) -> None:
        self._function = function
        self._keeper = keeper
        self._clock = clock
        self._transport = transport

    async def deliver(self, record: EventRecord, headers: Mapping[str, str]) -> None:
        """Give an event to all that wait for it now; each commit is one execution's.

        `headers` are those of what the event causes, where it takes several messages.

        Repeated, it is given to those that have not got it. Raises StoreUnavailable and
        BrokerUnavailable.
        """
        shapes = await self._keeper.list_subscriptions(self._function)
        if not shapes:
            return
        try:
            data = record.decode()
        except PayloadInvalid as error:
            _log.warning("%s: an event is compared without its data: %s", self._function, error)
            data = None
        wanted = find_subscriptions(shapes, record.type, record.subject, data)
        if not wanted:
            return
        found = await self._keeper.find_subscribed(self._function, wanted, record.id, MAX_DELIVERED)
        text = record.model_dump_json()
        for execution, operations in found.items():
            await self._deliver_to(execution, operations, record.id, text)
        if sum(map(len, found.values())) >= MAX_DELIVERED:
            await self._go_on(text, headers)

    async def _deliver_to(
        self, execution: str, operations: Sequence[str], event: str, text: str
    ) -> None:
        try:
            async with self._keeper.change(execution, operations) as change:
                deliver_event(change.transition, operations, event, text)
                await send_commands(change)
        except ExecutionNotFound:
            return  # It was dropped since.

    async def _go_on(self, text: str, headers: Mapping[str, str]) -> None:
        """Have the others found by another message, so that no run takes too long."""
        message = Message(
            text.encode(),
            new_id(),
            self._clock.now(),
            headers=headers,
            trigger=DURABLE,
            type=EVENT,
            caller=self._function,
        )
        await self._transport.send(self._function, message, 0.0)
