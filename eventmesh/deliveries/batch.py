"""Handles the asynchronous deliveries of a function that takes messages in batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from eventmesh.abc import Delivery
from eventmesh.deliveries.hand_back import HandBack
from eventmesh.deliveries.settlement_writer import SettlementWriter
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import NotBegun, PayloadTooLarge
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import Batch, Invocation
from eventmesh.model.result import Failure, Result


class BatchDeliveryHandler:
    """Runs deliveries together, as one invocation, and settles each by itself.

    What was sent to the function by name is not an item of a queue: it runs alone.
    """

    __slots__ = (
        "_dispatch",
        "_hand_back",
        "_handle_single",
        "_is_named_queue",
        "_max_payload",
        "_name",
        "_writer",
    )

    def __init__(
        self,
        function: FunctionSpec,
        context: SourceContext,
        writer: SettlementWriter,
        handle_single: Callable[[Delivery], Awaitable[None]],
        hand_back: HandBack,
        *,
        trigger: str | None = None,
    ) -> None:
        """`trigger` is given for a named queue only, which holds nothing but items."""
        self._name = function.full_name
        self._max_payload = function.limits.max_payload
        self._dispatch = context.dispatch
        self._writer = writer
        self._handle_single = handle_single
        self._hand_back = hand_back
        self._is_named_queue = trigger is not None

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Run deliveries and settle each. A cancellation leaves the rest unsettled."""
        unsettled = deque(deliveries)
        await self._settle_others(unsettled)
        if unsettled:
            await self._run_items(unsettled)

    async def _settle_others(self, unsettled: deque[Delivery]) -> None:
        """Settle the deliveries that are not items of the batch, and leave the items, in order."""
        for _ in range(len(unsettled)):
            delivery = unsettled.popleft()
            message = delivery.message
            if not self._is_named_queue and message.trigger != "queue":
                await self._handle_single(delivery)
            elif len(message.body) > self._max_payload:
                error = PayloadTooLarge(len(message.body), self._max_payload)
                await self._writer.settle(delivery, Result(b"", error=error))
            elif (refusal := self._writer.find_refusal(delivery)) is not None:
                await self._writer.settle_as(refusal, delivery, Result(b""))
            else:
                unsettled.append(delivery)

    async def _run_items(self, unsettled: deque[Delivery]) -> None:
        messages = [delivery.message for delivery in unsettled]
        batch = Batch(
            [message.body for message in messages], ids=[message.id for message in messages]
        )
        result = await self._dispatch(self._build_invocation(unsettled, batch))
        if isinstance(result.error, NotBegun):
            await self._hand_back.return_all(unsettled)
            return
        failures = {**batch.invalid, **(result.failures or {})}
        errors: deque[Failure] = deque()
        for index in range(len(unsettled)):
            delivery = unsettled.popleft()
            error = failures.get(index, result.error)
            if error is None:
                await self._writer.settle(delivery, Result())
            else:
                # Later: a success does not wait for a broker that stores no retries now.
                unsettled.append(delivery)
                errors.append(error)
        while unsettled:
            await self._writer.settle(unsettled.popleft(), Result(error=errors.popleft()))

    def _build_invocation(self, items: Sequence[Delivery], batch: Batch) -> Invocation:
        messages = [delivery.message for delivery in items]
        together = _Items(items)
        principals = {message.principal for message in messages}
        return Invocation(
            function=self._name,
            id=new_id(),
            payload=b"",
            created=min(message.timestamp for message in messages),
            headers=messages[0].headers,
            trigger="queue",
            attempt=max(message.attempt for message in messages),
            batch=batch,
            # A batch of several callers is called by none of them.
            principal=principals.pop() if len(principals) == 1 else "",
            delivery=together,
            redeliveries=together.redeliveries,
        )


class _Items:
    """The deliveries of a batch, as one."""

    __slots__ = ("_items",)

    def __init__(self, items: Sequence[Delivery]) -> None:
        self._items = items

    @property
    def stale(self) -> bool:
        return any(item.stale for item in self._items)

    @property
    def redeliveries(self) -> int:
        return max(item.redeliveries for item in self._items)
