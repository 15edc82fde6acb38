"""Acting on a settlement: the delivery gets its one answer here."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import sleep
from eventmesh.engine.codecs.envelope import invocation_from, outcome_record
from eventmesh.engine.settlement import (
    UNSPENT_DELAY,
    DeadLetter,
    Redeliver,
    Settlement,
    attempt_again,
    dead_letter,
    refuse,
    settle,
    truncated,
)
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import (
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
)
from eventmesh.model.event import event_headers
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import ASYNC, Batch, Invocation
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import EVENTS, Queue, Route, dead_letters, inbox, to_queue
from eventmesh.model.trace_context import trace_headers

_log: Final = logging.getLogger(__name__)


class AsyncDeliveryHandler:
    """Runs the asynchronous deliveries of one function and settles each exactly once.

    A retry or a dead letter is stored before its delivery is acknowledged: a crash in between
    makes a duplicate, never a loss.
    """

    __slots__ = (
        "_broker",
        "_clock",
        "_dead_lettered",
        "_dead_letters",
        "_dispatch",
        "_function",
        "_retried",
        "_retry_to",
        "_trigger",
        "_undelivered",
    )

    def __init__(
        self,
        function: FunctionSpec,
        runtime: SourceContext,
        *,
        trigger: str | None = None,
        retry_to: Queue | None = None,
    ) -> None:
        """`trigger` is what fired the deliveries, where they do not say so themselves.

        Retries go to the function's inbox unless `retry_to` names another queue.
        """
        self._function = function
        self._broker = runtime.broker
        self._clock = runtime.clock
        self._dispatch = runtime.dispatch
        self._trigger = trigger
        self._retry_to = to_queue(retry_to or inbox(function.full_name))
        self._dead_letters = dead_letters(function.full_name)
        self._retried = 0
        self._dead_lettered = 0
        self._undelivered = 0
        name = function.full_name
        runtime.gauge("retries_total", name, lambda: self._retried)
        runtime.gauge("dead_letters_total", name, lambda: self._dead_lettered)
        runtime.gauge("undelivered_total", name, lambda: self._undelivered)

    async def handle(self, delivery: Delivery) -> None:
        """Run one delivery and settle it."""
        refusal = self._refusal(delivery)
        if refusal is not None:
            await self._act(delivery, Result(b""), refusal)
            return
        try:
            result = await self._dispatch(self._invocation(delivery.message))
        except asyncio.CancelledError:
            delivery.requeue()
            raise
        await self._settle(delivery, result)

    async def handle_batch(self, deliveries: Sequence[Delivery]) -> None:
        """Run deliveries as one invocation and settle each by itself.

        What was sent to the function by name is no item of a queue: it runs alone.
        """
        unsettled = deque(deliveries)
        try:
            await self._sort_out(unsettled)
            if unsettled:
                await self._run_items(unsettled)
        except asyncio.CancelledError:
            while unsettled:
                unsettled.pop().requeue()
            raise

    async def _sort_out(self, unsettled: deque[Delivery]) -> None:
        """Settle what is no item of the batch; what is one goes round once and stays."""
        limit = self._function.limits.max_payload
        for _ in range(len(unsettled)):
            delivery = unsettled.popleft()
            message = delivery.message
            if self._trigger is None and message.trigger != "queue":
                await self.handle(delivery)
            elif len(message.body) > limit:
                error = PayloadTooLarge(len(message.body), limit)
                await self._settle(delivery, Result(b"", error=error))
            elif (refusal := self._refusal(delivery)) is not None:
                await self._act(delivery, Result(b""), refusal)
            else:
                unsettled.append(delivery)

    async def _run_items(self, unsettled: deque[Delivery]) -> None:
        batch = Batch([delivery.message.body for delivery in unsettled])
        result = await self._dispatch(self._batch_invocation(unsettled, batch))
        failures = {**batch.invalid, **(result.failures or {})}
        for index in range(len(unsettled)):
            await self._settle(unsettled.popleft(), Result(error=failures.get(index, result.error)))

    def _refusal(self, delivery: Delivery) -> DeadLetter | None:
        """Why it is not to be run at all, if so."""
        age = self._age(delivery.message)
        return refuse(delivery.redeliveries, age, self._function.retry)

    def _age(self, message: Message) -> float:
        """Seconds that count towards the retry policy's `max_age`.

        What comes from a named queue counts from its first run: how long its sender, maybe of
        another system, left it there is no reason to drop it.
        """
        return 0.0 if self._trigger is not None else self._clock.now() - message.timestamp

    def _invocation(self, message: Message) -> Invocation:
        name = self._function.full_name
        return invocation_from(message, name, ASYNC, trigger=self._trigger)

    def _batch_invocation(self, items: Sequence[Delivery], batch: Batch) -> Invocation:
        messages = [delivery.message for delivery in items]
        principals = {message.principal for message in messages}
        return Invocation(
            function=self._function.full_name,
            id=new_id(),
            payload=b"",
            created=min(message.timestamp for message in messages),
            headers=messages[0].headers,
            trigger="queue",
            attempt=max(message.attempt for message in messages),
            batch=batch,
            # A batch of several callers is called by none of them.
            principal=principals.pop() if len(principals) == 1 else "",
        )

    async def _settle(self, delivery: Delivery, result: Result) -> None:
        """Give a delivery the answer that its result asks for."""
        if result.error is None and self._function.on_success is None:
            delivery.ack()
            return
        message = delivery.message
        settlement = settle(result.error, message.attempt, self._age(message), self._function.retry)
        await self._act(delivery, result, settlement)

    async def _act(self, delivery: Delivery, result: Result, settlement: Settlement) -> None:
        try:
            await self._store(delivery.message, result, settlement)
        except asyncio.CancelledError:
            delivery.requeue()
            raise
        except Exception as error:  # noqa: BLE001  # one message does not end the service
            _log.warning(
                "%s: the settlement of %s could not be stored, it will be delivered again: %s",
                self._function.full_name,
                delivery.message.id,
                error,
                exc_info=not isinstance(error, InvocationError),
            )
            # Given back at once it would come back at once, while the broker still refuses.
            try:
                await sleep(self._clock, UNSPENT_DELAY)
            finally:
                delivery.requeue()
        else:
            delivery.ack()

    async def _store(self, message: Message, result: Result, settlement: Settlement) -> None:
        """Make the broker hold what follows from a run, all before the delivery is answered."""
        now = self._clock.now()
        function = self._function
        if self._trigger is not None:
            message = replace(message, trigger=self._trigger)
        match settlement:
            case Redeliver():
                refused = await self._try_again(message, settlement, now)
                if refused is not None:
                    await self._store(message, result, refused)
            case DeadLetter(reason=reason):
                dead = dead_letter(message, function.full_name, result.error, reason, now)
                await self._set_aside(dead)
                self._dead_lettered += 1
                if function.on_failure is not None:
                    await self._record(function.on_failure, message, result, reason)
            case _:
                if function.on_success is not None:
                    await self._record(function.on_success, message, result)

    async def _try_again(
        self, message: Message, settlement: Redeliver, now: float
    ) -> DeadLetter | None:
        """Have it delivered again; the return is why it never can be, if so."""
        again = attempt_again(message, settlement, now)
        if self._trigger is not None:
            again = replace(again, timestamp=now)  # See `_age`.
        try:
            await self._broker.publish(self._retry_to, again, delay=settlement.delay)
        except Exception as error:
            if _may_pass(error):
                raise
            return DeadLetter(f"it cannot be stored for another attempt: {error}")
        self._retried += settlement.spent
        return None

    async def _set_aside(self, dead: Message) -> None:
        try:
            await self._store_aside(dead)
        except Exception as error:
            if _may_pass(error):
                raise
            _log.exception(
                "%s: of the dead letter %s only a part is kept", self._function.full_name, dead.id
            )
            await self._store_aside(truncated(dead, error))

    async def _store_aside(self, dead: Message) -> None:
        route = to_queue(self._dead_letters)
        try:
            await self._broker.publish(route, dead)
        except FunctionNotFound:
            # Nobody consumes this queue, so nobody else notices that it was deleted.
            await self._broker.declare([self._dead_letters])
            await self._broker.publish(route, dead)

    async def _record(
        self, route: Route, message: Message, result: Result, reason: str = ""
    ) -> None:
        """Tell a destination of the outcome, waiting while the broker does not take that.

        What has run is not run again because of its record. If there is no such destination, or
        no broker would take the record, that is logged.
        """
        now = self._clock.now()
        name = self._function.full_name
        record = Message(
            body=outcome_record(name, message, result, reason, now),
            id=new_id(),
            timestamp=now,
            headers=trace_headers(message.headers) | event_headers(f"/{name}", now),
            trigger="destination",
            caller=name,
            principal=message.principal,
            type=route.key if route.exchange == EVENTS else "",
        )
        while True:
            try:
                return await self._broker.publish(route, record)
            except Exception as error:  # noqa: BLE001  # the run counts, whatever this is
                if isinstance(error, FunctionNotFound) or not _may_pass(error):
                    self._undelivered += 1
                    _log.error(
                        "%s: the outcome of %s was not delivered: %s", name, message.id, error
                    )
                    return None
                _log.warning("%s: the outcome of %s waits: %s", name, message.id, error)
                await sleep(self._clock, UNSPENT_DELAY)


def _may_pass(error: Exception) -> bool:
    """Whether what could not be stored may be stored later: the fault is not its own."""
    return isinstance(error, InvocationError) and not isinstance(
        error, (PayloadInvalid, PayloadTooLarge)
    )
