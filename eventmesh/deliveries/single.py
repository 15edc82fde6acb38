"""Handles the asynchronous deliveries of a function one by one."""

from __future__ import annotations

from eventmesh.abc import Delivery
from eventmesh.deliveries.hand_back import HandBack
from eventmesh.deliveries.settlement_writer import SettlementWriter
from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import NotBegun
from eventmesh.model.invocation import ASYNC
from eventmesh.model.result import Result


class AsyncDeliveryHandler:
    """Runs each delivery as one invocation, and settles it."""

    __slots__ = ("_dispatch", "_hand_back", "_name", "_trigger", "_writer")

    def __init__(
        self,
        function: FunctionSpec,
        context: SourceContext,
        writer: SettlementWriter,
        hand_back: HandBack,
        *,
        trigger: str | None = None,
    ) -> None:
        """`trigger` replaces what the messages say. It is given for named queues only."""
        self._name = function.full_name
        self._dispatch = context.dispatch
        self._writer = writer
        self._hand_back = hand_back
        self._trigger = trigger

    async def handle(self, delivery: Delivery) -> None:
        """Run one delivery and settle it. One whose run is cancelled is left unsettled."""
        refusal = self._writer.find_refusal(delivery)
        if refusal is not None:
            await self._writer.settle_as(refusal, delivery, Result(b""))
            return
        result = await self._dispatch(
            invocation_from(
                delivery.message, self._name, ASYNC, trigger=self._trigger, delivery=delivery
            )
        )
        if isinstance(result.error, NotBegun):
            await self._hand_back.return_all((delivery,))
            return
        await self._writer.settle(delivery, result)
