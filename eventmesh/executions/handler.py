"""Receives what concerns the executions of one function, and runs their turns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pydantic import ValidationError

from eventmesh.abc import Handler, Transport
from eventmesh.aio.clock import Clock, sleep
from eventmesh.durable.changes import Resume
from eventmesh.durable.completion import (
    ANSWER,
    CALL,
    COMPLETE,
    DURABLE,
    EVENT,
    TURN,
    WAKE,
    Completion,
)
from eventmesh.durable.errors import CallbackNotOpen, DurableError, ExecutionNotFound
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Change, Keeper
from eventmesh.durable.operation import ErrorObject, OperationStatus
from eventmesh.durable.outcomes import end_call
from eventmesh.durable.timers import advance
from eventmesh.engine.spec import EventSource
from eventmesh.executions.aws.names import LATEST
from eventmesh.executions.callers.completing import complete_callback
from eventmesh.executions.callers.identity import (
    beginning_principal,
    check_called,
    check_own,
    check_repeated,
)
from eventmesh.executions.callers.outcome import execution_result
from eventmesh.executions.callers.starting import execution_id
from eventmesh.executions.errors import describe_failure
from eventmesh.executions.events.delivery import EventDelivery
from eventmesh.executions.events.record import EventRecord, record_event
from eventmesh.executions.messages.contents import (
    ACCEPTED,
    CALLER_HEADER,
    EXECUTION_HEADER,
    TENANT_HEADER,
    Content,
    read_content,
    send_commands,
)
from eventmesh.executions.messages.headers import beginning_headers
from eventmesh.executions.revisions.watch import RevisionWatch
from eventmesh.executions.turns import Turn, Turns
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    InvocationError,
    InvocationTimeout,
    PayloadInvalid,
    StoreUnavailable,
    Throttled,
)
from eventmesh.model.event import matches
from eventmesh.model.invocation import SYNC, Invocation
from eventmesh.model.limits import DEFAULT_TIMEOUT
from eventmesh.model.message import Message
from eventmesh.model.result import Failure, Result
from eventmesh.model.trace_context import caused_headers

_log: Final = logging.getLogger(__name__)

_FIRST_LOOK: Final = 0.1
_LAST_LOOK: Final = 2.0
"""Seconds between two looks of a caller who waits for the end of an execution."""

OVERDUE_SECONDS: Final = 5.0
"""How long after its deadline a first turn that nobody stored is run again, if it did not end."""

OTHER_SECONDS: Final = 0.5
"""After how long a turn is offered again that is for a process with another version of the code."""

_FROM_OTHERS: Final = frozenset((ANSWER, COMPLETE))
"""What is not sent by executions of the function itself; each is checked by what it says."""


class DurableHandler:
    """Runs the executions of one durable function, whose code `turns` runs."""

    def __init__(
        self,
        function: str,
        turns: Turns,
        keeper: Keeper,
        clock: Clock,
        *,
        transport: Transport,
        timeout: int | None,
        attempts: int,
        sources: Sequence[EventSource] = (),
        watch: RevisionWatch | None = None,
    ) -> None:
        """`timeout` is how many seconds an execution may take in all.

        `attempts` is how often a function is invoked that does not answer in time. `sources` are
        what brings events. `watch` knows the versions of the code.
        """
        self._function = function
        self._turns = turns
        self._keeper = keeper
        self._clock = clock
        self._transport = transport
        self._timeout = timeout
        self._attempts = attempts
        self._sources = sources
        self._watch = watch
        self._events = EventDelivery(function, keeper, clock, transport)
        self._kinds: Mapping[str, Handler] = {
            TURN: self._take_turn,
            WAKE: self._wake,
            CALL: self._call,
            ANSWER: self._take_answer,
            COMPLETE: self._complete,
            EVENT: self._deliver_further,
        }

    async def handle(self, invocation: Invocation) -> Result:
        """Begin an execution, or go on with one."""
        try:
            if invocation.trigger == DURABLE:
                return await self._go_on(invocation)
            if self._sources and invocation.trigger == "event":
                await self._events.deliver(record_event(invocation), _caused(invocation))
                if not self._begins(invocation.type):
                    return Result()
            return await self._start(invocation)
        except InvocationError as error:
            return Result(b"", error=error)

    def _begins(self, event: str) -> bool:
        """Whether an event of that type begins an execution."""
        return any(
            source.starts and any(matches(pattern, event) for pattern in source.patterns)
            for source in self._sources
        )

    async def _deliver_further(self, invocation: Invocation) -> Result:
        try:
            record = EventRecord.model_validate_json(invocation.payload)
        except ValidationError:
            raise PayloadInvalid("the message carries no event") from None
        await self._events.deliver(record, _caused(invocation))
        return Result()

    async def _go_on(self, invocation: Invocation) -> Result:
        if invocation.type not in self._kinds:
            raise PayloadInvalid(f"no execution goes on by a message {invocation.type!r}")
        # These come from the executions of this function themselves. Where each service has a user
        # of its own at the broker, the caller was verified.
        if invocation.type not in _FROM_OTHERS and invocation.caller != self._function:
            who = invocation.caller or "somebody unknown"
            raise AccessDenied(f"{who} may not make an execution of {self._function} go on")
        try:
            return await self._kinds[invocation.type](invocation)
        except ExecutionNotFound as error:
            # It was dropped, or its message is somebody's invention: nothing is to be done.
            _log.warning("%s: %s", self._function, error)
            return Result()

    # The beginning.

    async def _start(self, invocation: Invocation) -> Result:
        execution = self._new_execution(invocation)
        async with self._keeper.create(execution) as change:
            if change is not None:
                change.transition.start()
                if not execution.caller:
                    self._begin_here(change, invocation)
                await send_commands(change)
        if change is None:
            known = await self._keeper.read(execution.id)
            check_repeated(known, execution, waits=invocation.mode == SYNC)
        if execution.caller:
            return Result(b"{}", content_type=ACCEPTED)
        result = await self._run_turn(execution.id, 1, invocation)
        return await self._wait_for_end(execution.id, invocation) if result is None else result

    def _begin_here(self, change: Change, invocation: Invocation) -> None:
        """Have this invocation be the first turn.

        One that is stored needs no message: it is delivered again if its process dies. That of a
        caller who waits is not, so a message comes when this turn is over at the latest.
        """
        commands = change.transition.changes.commands
        (turn,) = (each for each in commands if isinstance(each, Resume))
        commands.clear()
        if invocation.mode == SYNC and invocation.deadline is not None:
            left = max(invocation.deadline - self._clock.monotonic(), 0.0)
            commands.append(replace(turn, delay=left + OVERDUE_SECONDS))

    def _new_execution(self, invocation: Invocation) -> Execution:
        headers = invocation.headers
        caller, _, operation = headers.get(CALLER_HEADER, "").partition("/")
        id = headers.get(EXECUTION_HEADER, "") if caller else ""
        id = id or execution_id(self._function, invocation.id, invocation.trigger)
        return Execution(
            id,
            id,
            self._function,
            LATEST,
            self._clock.now(),
            revision="" if self._watch is None else self._watch.revision,
            timeout=self._timeout,
            payload=self._turns.read_input(invocation),
            caller=caller,
            caller_operation=operation,
            caller_function=invocation.caller if caller else "",
            tenant=headers.get(TENANT_HEADER, ""),
            headers=beginning_headers(headers, invocation.id),
            principal=beginning_principal(invocation.principal),
        )

    async def _wait_for_end(self, id: str, invocation: Invocation) -> Result:
        """Give a caller who waits the result, and others nothing: their invocation is stored."""
        if invocation.mode != SYNC:
            return Result()
        pause = _FIRST_LOOK
        while not (execution := await self._keeper.read(id)).is_ended:
            await sleep(self._clock, pause)
            pause = min(pause * 2, _LAST_LOOK)
        return execution_result(execution)

    # How it goes on.

    async def _take_turn(self, invocation: Invocation) -> Result:
        content = read_content(invocation.payload)
        await self._run_turn(content.execution, content.turn, invocation)
        return Result()

    async def _wake(self, invocation: Invocation) -> Result:
        async with self._keeper.change(read_content(invocation.payload).execution) as change:
            change.execution.wake = None
            advance(change.transition)
            await send_commands(change)
        return Result()

    async def _take_answer(self, invocation: Invocation) -> Result:
        content = read_content(invocation.payload)
        error = None if content.error is None else content.error.to_value()
        await self._end_call(
            content, content.status, content.result, error, called=invocation.caller
        )
        return Result()

    async def _complete(self, invocation: Invocation) -> Result:
        """Complete a callback. Who has its id may; once it has ended, it stays as it is."""
        try:
            completion = Completion.model_validate_json(invocation.payload)
            await complete_callback(self._keeper, completion)
        except ValidationError:
            raise PayloadInvalid("the message completes no callback") from None
        except CallbackNotOpen as error:
            _log.warning("%s: %s", self._function, error)
        return Result()

    async def _call(self, invocation: Invocation) -> Result:
        """Invoke a function that an execution waits for, and record how that ended.

        Which it is, and as whom it is invoked, the store says: the message alone asks for nothing.
        """
        content = read_content(invocation.payload)
        known = await self._keeper.read(content.execution, [content.operation])
        check_own(known, self._function)
        check_called(known, content.operation, content.function)
        limit = invocation.deadline
        message = Message(
            (content.payload or "").encode(),
            content.callee,
            self._clock.now(),
            headers={
                **_caused(invocation),
                CALLER_HEADER: f"{content.execution}/{content.operation}",
                EXECUTION_HEADER: content.callee,
                **({TENANT_HEADER: content.tenant} if content.tenant else {}),
            },
            deadline=self._clock.monotonic() + DEFAULT_TIMEOUT if limit is None else limit,
            caller=self._function,
            principal=known.principal,
        )
        result = await self._transport.request(content.function, message)
        if self._is_passing(result.error, invocation.attempt):
            return result
        if result.error is not None:
            error = describe_failure(result.error)
            await self._end_call(content, "FAILED", None, error, called=content.function)
        elif result.content_type != ACCEPTED:
            body = result.body.decode()
            await self._end_call(content, "SUCCEEDED", body, None, called=content.function)
        return Result()

    def _is_passing(self, error: Failure | None, attempt: int) -> bool:
        """Whether a call is to be made again: it was not begun, or its process may have died.

        Or it could not use its database: what is sent is repeated then, and so is this.
        """
        if isinstance(error, (BrokerUnavailable, StoreUnavailable, Throttled)):
            return True
        return isinstance(error, InvocationTimeout) and attempt < self._attempts

    async def _end_call(
        self,
        content: Content,
        status: OperationStatus,
        result: str | None,
        error: ErrorObject | None,
        *,
        called: str,
    ) -> None:
        """Record how a call ended. Raises AccessDenied if `called` is not what was called."""
        async with self._keeper.change(content.execution, [content.operation]) as change:
            check_called(change.execution, content.operation, called)
            end_call(change.transition, content.operation, status, result, error)
            await send_commands(change)

    # One turn.

    async def _run_turn(self, id: str, number: int, invocation: Invocation) -> Result | None:
        """Run a turn; return the result of the execution if it has ended with it."""
        async with self._keeper.change(id, None) as change:
            check_own(change.execution, self._function)
            if self._is_for_another(change.execution):
                change.transition.changes.commands.append(Resume(number, OTHER_SECONDS))
                await send_commands(change)
                return None
            advance(change.transition)
            known = change.execution.begun
            begun = change.transition.begin_invocation(number, invocation.id)
            await send_commands(change)
            execution = change.execution
            turn = Turn(execution, change.transition.token, _find_news(execution, known))
        if not begun:
            return execution_result(execution) if execution.is_ended else None
        try:
            # As whom it acts, the store says, and not what lets it go on.
            own = replace(invocation, principal=execution.principal)
            ended = await self._turns.run(turn, own)
        except asyncio.CancelledError:
            await self._note_timeout(turn, invocation)
            raise
        return execution_result(ended) if ended is not None and ended.is_ended else None

    def _is_for_another(self, execution: Execution) -> bool:
        """Whether a turn is left to a process with the version that began the execution."""
        if self._watch is None or execution.is_ended:
            return False
        return self._watch.runs_elsewhere(execution.revision)

    async def _note_timeout(self, turn: Turn, invocation: Invocation) -> None:
        """Record that a turn took too long, so that it is not taken for one whose process died."""
        deadline = invocation.deadline
        if deadline is None or self._clock.monotonic() < deadline:
            return
        error = ErrorObject("the turn took longer than the function's timeout", "Sandbox.Timedout")
        try:
            async with self._keeper.change(turn.execution.id) as change:
                change.transition.fail_invocation(turn.token, error)
                await send_commands(change)
        except (DurableError, InvocationError) as failure:
            _log.warning("%s: its timeout was not recorded: %s", self._function, failure)


def _caused(invocation: Invocation) -> dict[str, str]:
    """Return the headers of what an invocation causes."""
    return caused_headers(invocation.headers, invocation.id)


def _find_news(execution: Execution, known: int) -> tuple[str, ...]:
    """Return the operations that others have changed since the change `known`."""
    return tuple(
        operation.id
        for operation in execution.operations.values()
        if operation.outside and operation.changed > known
    )
