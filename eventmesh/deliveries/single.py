"""Handles the asynchronous deliveries of a function one by one."""

from __future__ import annotations

import asyncio

from eventmesh.abc import Delivery
from eventmesh.deliveries.settlement_writer import SettlementWriter
from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import NotBegun
from eventmesh.model.invocation import ASYNC
from eventmesh.model.result import Result


class AsyncDeliveryHandler:
    """Runs each delivery as one invocation, and settles it."""

    __slots__ = ("_dispatch", "_name", "_trigger", "_writer")

    def __init__(
        self,
        function: FunctionSpec,
        context: SourceContext,
        writer: SettlementWriter,
        *,
        trigger: str | None = None,
    ) -> None:
        """`trigger` replaces what the messages say. It is given for named queues only."""
        self._name = function.full_name
        self._dispatch = context.dispatch
        self._writer = writer
        self._trigger = trigger

    async def handle(self, delivery: Delivery) -> None:
        """Run one delivery and settle it."""
        refusal = self._writer.find_refusal(delivery)
        if refusal is not None:
            await self._writer.settle_as(refusal, delivery, Result(b""))
            return
        try:
            result = await self._dispatch(
                invocation_from(
                    delivery.message, self._name, ASYNC, trigger=self._trigger, delivery=delivery
                )
            )
        except asyncio.CancelledError:
            delivery.requeue()
            raise
        if isinstance(result.error, NotBegun):
            delivery.requeue()
            return
        await self._writer.settle(delivery, result)
