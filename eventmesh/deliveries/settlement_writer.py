"""Settles deliveries: has the broker store what follows from a run, and then acknowledges."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from eventmesh.abc import Delivery
from eventmesh.aio.clock import sleep
from eventmesh.deliveries.settlement_steps import (
    Action,
    DropRecord,
    RunOutcome,
    SendRecord,
    Step,
    StoreDeadLetter,
    StoreRetry,
    WaitToRepeat,
    plan_steps,
    replace_step,
)
from eventmesh.durable.completion import DURABLE
from eventmesh.engine.results import State
from eventmesh.engine.settlement import (
    BROKER_PAUSE,
    MOVE_TO_INBOX,
    REASON,
    MoveToDeadLetters,
    MoveToInbox,
    ScheduleRetry,
    Settlement,
    decide_refusal,
    decide_settlement,
    repeat_pauses,
)
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import Cancelled, FunctionNotFound, InvocationError, Reject
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import Queue, dead_letters, inbox, to_queue

if TYPE_CHECKING:
    from eventmesh.executions.upkeep.dead_turns import NoteDeadLetter

_log: Final = logging.getLogger(__name__)


def _note_dead_turns(function: FunctionSpec, context: SourceContext) -> NoteDeadLetter | None:
    if function.durability is None:
        return None
    # Who only declares functions does not load what runs executions.
    from eventmesh.executions.upkeep.dead_turns import note_dead_turns  # noqa: PLC0415

    return note_dead_turns(function, context)


class SettlementWriter:
    """Settles the asynchronous deliveries of one function, each exactly once.

    Whatever follows from a run (a retry, a dead letter, the record of its outcome) is stored before
    its delivery is acknowledged: a crash in between makes a duplicate, never a loss.

    While the broker does not store it, the delivery is kept and the store repeated, so that what
    has run is not run again. Only a stop, which cancels the
    wait, has it handed back. Once the delivery is stale nothing more is
    stored, because the broker delivers it again.
    """

    __slots__ = (
        "_broker",
        "_clock",
        "_counted",
        "_dead_lettered",
        "_dead_letters",
        "_function",
        "_note_dead_letter",
        "_note_delayed",
        "_results",
        "_retried",
        "_trigger",
        "_undelivered",
        "_waiting",
        "retry_to",
    )

    def __init__(
        self,
        function: FunctionSpec,
        context: SourceContext,
        *,
        trigger: str | None = None,
        retry_to: Queue | None = None,
        counted: bool = True,
    ) -> None:
        """`trigger` replaces what the messages say. It is given for named queues only.

        Retries go to the function's inbox unless `retry_to` names another queue. `counted` is False
        for a queue of another system, which may not count how often it lost a message's consumer,
        or drop the message after some.
        """
        self._counted = counted
        self._function = function
        self._broker = context.broker
        self._results = context.results.get(function.full_name)
        self._clock = context.clock
        self._note_delayed = context.note_delayed
        self._note_dead_letter = _note_dead_turns(function, context)
        self._trigger = trigger
        self.retry_to = to_queue(retry_to or inbox(function.full_name))
        self._dead_letters = dead_letters(function.full_name)
        self._retried = 0
        self._dead_lettered = 0
        self._undelivered = 0
        self._waiting = 0
        name = function.full_name
        context.gauge("retries_total", name, lambda: self._retried)
        context.gauge("dead_letters_total", name, lambda: self._dead_lettered)
        context.gauge("undelivered_total", name, lambda: self._undelivered)
        context.gauge("settlements_waiting", name, lambda: self._waiting)

    def find_refusal(self, delivery: Delivery) -> MoveToDeadLetters | MoveToInbox | None:
        """Return the settlement of a delivery that must not be run, or None if it may be run."""
        if delivery.losses and not self._counted:
            return MOVE_TO_INBOX
        age = self._age(delivery.message)
        return decide_refusal(delivery.losses, age, self._function.retry)

    async def settle(self, delivery: Delivery, result: Result) -> None:
        """Settle a delivery as its result demands."""
        message = delivery.message
        if result.error is None and self._function.on_success is None:
            if self._results is not None:
                await self._note(message, "succeeded", result)
            delivery.ack()
            return
        if isinstance(result.error, Cancelled):
            await self._note(message, "cancelled", result)
            delivery.ack()
            return
        age = self._age(message)
        settlement = decide_settlement(result.error, message.attempt, age, self._function.retry)
        await self.settle_as(settlement, delivery, result)

    async def settle_as(self, settlement: Settlement, delivery: Delivery, result: Result) -> None:
        """Settle a delivery as already decided: store what follows, then acknowledge."""
        try:
            if self._results is not None:
                await self._note_settlement(delivery.message, settlement, result)
            await self._write(settlement, delivery, result)
        except Exception:  # noqa: BLE001  # one message does not end the service
            # Nothing that the broker does leads here.
            _log.exception(
                "%s: the settlement of %s failed, it will be delivered again",
                self._function.full_name,
                delivery.message.id,
            )
            # Requeued at once it would be back at once.
            await sleep(self._clock, BROKER_PAUSE)
            delivery.requeue()
        else:
            delivery.ack()

    async def _note_settlement(
        self, message: Message, settlement: Settlement, result: Result
    ) -> None:
        """Note what follows, before it is stored: a retry may run as soon as that is done."""
        match settlement:
            case ScheduleRetry():
                await self._note(message, "retrying", result)
            case MoveToDeadLetters(reason=reason):
                error = result.error or Reject(reason)
                await self._note(message, "failed", replace(result, error=error))
            case MoveToInbox():
                pass
            case _:
                await self._note(message, "succeeded", result)

    async def _note(self, message: Message, state: State, result: Result) -> None:
        if self._results is None:
            return
        await self._results.note(
            self._function.full_name,
            message.id,
            state,
            message.attempt,
            message.timestamp,
            body=result.body if state == "succeeded" else b"",
            content_type=result.content_type,
            error=result.error,
        )

    @property
    def _is_named_queue(self) -> bool:
        return self._trigger is not None

    def renew(self, message: Message) -> Message:
        """Return a message of the queue as it is stored in the function's inbox, to be run."""
        if self._trigger is None:
            return message
        return replace(message, trigger=self._trigger, timestamp=self._clock.now())

    def _age(self, message: Message) -> float:
        """Return the seconds that count towards the retry policy's `max_age`.

        A message of a named queue counts from its first run: how long its sender, maybe of another
        system, left it there is no reason to drop it. Nor is how long the message of an execution
        waited for a process: what has begun has a timeout of its own.
        """
        if self._is_named_queue or message.trigger == DURABLE:
            return 0.0
        return self._clock.now() - message.timestamp

    async def _write(self, settlement: Settlement, delivery: Delivery, result: Result) -> None:
        """Perform all steps of a settlement, and others in the place of those that fail."""
        message = delivery.message
        if self._trigger is not None or delivery.redeliveries:
            trigger = message.trigger if self._trigger is None else self._trigger
            message = replace(message, trigger=trigger, redeliveries=delivery.redeliveries)
        outcome = RunOutcome(
            function=self._function,
            message=message,
            result=result,
            now=self._clock.now(),
            age_from_first_run=self._is_named_queue,
            record_id=new_id(),
        )
        await self._perform_all(plan_steps(outcome, settlement), outcome, delivery)

    async def _perform_all(
        self, planned: Sequence[Step], outcome: RunOutcome, delivery: Delivery
    ) -> None:
        """Perform the steps in order, until they are done or the delivery is stale."""
        steps = deque(planned)
        pauses: Iterator[float] | None = None
        try:
            while steps and not delivery.stale:
                step = steps.popleft()
                if isinstance(step, WaitToRepeat):
                    if pauses is None:
                        pauses = repeat_pauses()
                        self._begin_waiting(outcome.message, step.error)
                    await sleep(self._clock, next(pauses))
                    continue
                try:
                    await self._perform(step, outcome.message)
                except Exception as error:  # noqa: BLE001  # one message does not end the service
                    steps.extendleft(reversed(replace_step(step, error, outcome)))
        finally:
            if pauses is not None:
                self._end_waiting()

    def _begin_waiting(self, message: Message, error: Exception) -> None:
        """Count a settlement that the broker does not store now, and warn of the first only.

        The others wait for the same reason, and each is repeated many times.
        """
        self._waiting += 1
        if self._waiting == 1:
            _log.warning(
                "%s: the settlement of %s cannot be stored now; it and those that follow are kept "
                "and stored as soon as the broker takes them: %s",
                self._function.full_name,
                message.id,
                error,
                exc_info=None if isinstance(error, InvocationError) else error,
            )

    def _end_waiting(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            _log.info("%s: no settlement waits any more", self._function.full_name)

    async def _perform(self, step: Action, request: Message) -> None:
        name = self._function.full_name
        match step:
            case StoreRetry():
                self._note_delayed(name, step.message.id, self._clock.now() + step.delay)
                await self._broker.publish(
                    self.retry_to, step.message, delay=step.delay, give_up=False
                )
                self._retried += step.spent
            case StoreDeadLetter():
                # Noted first: once it is stored it may be redriven, and run.
                if self._note_dead_letter is not None:
                    await self._note_dead_letter(request, step.message.headers[REASON])
                await self._store_dead_letter(step.message)
                self._dead_lettered += 1
                if step.refused is not None:
                    _log.error(
                        "%s: of the dead letter %s only a part is kept",
                        name,
                        request.id,
                        exc_info=step.refused,
                    )
            case SendRecord():
                await self._broker.publish(step.route, step.message, give_up=False)
            case DropRecord():
                self._undelivered += 1
                _log.error(
                    "%s: the outcome of %s was not delivered: %s", name, request.id, step.error
                )

    async def _store_dead_letter(self, dead: Message) -> None:
        route = to_queue(self._dead_letters)
        try:
            await self._broker.publish(route, dead, give_up=False)
        except FunctionNotFound:
            # Dead-letter queues have no consumer, so nothing else notices that one was deleted.
            await self._broker.declare([self._dead_letters])
            await self._broker.publish(route, dead, give_up=False)
