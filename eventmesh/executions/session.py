"""One turn of an execution: records what the code does, and ends when all of it waits."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import field
from typing import Final

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock, TimerHandle
from eventmesh.aio.tasks import background_task
from eventmesh.durable.checkpoint import record_checkpoint
from eventmesh.durable.execution import Execution, ExecutionStatus
from eventmesh.durable.keeper import Change, Keeper
from eventmesh.durable.operation import ErrorObject, Operation, OperationUpdate
from eventmesh.durable.timers import end_turn
from eventmesh.executions.messages.contents import send_commands
from eventmesh.model.message import Message
from eventmesh.model.value import value

REFRESH_SECONDS: Final = 5.0
"""How soon a turn that goes on learns what others have ended in the meantime."""

_QUIET_SECONDS: Final = 0.05
"""How long code that is not known to wait may do something else beside what waits."""


@value
class Outgoing:
    """A message that is sent with the commit of the updates it comes with; "" is an event."""

    destination: str
    message: Message
    delay: float


@value
class _Request:
    updates: Sequence[OperationUpdate]
    messages: Sequence[Outgoing]
    done: asyncio.Future[None] | None = field(default=None, repr=False)


class Session:
    """Records the updates of one turn: those of one pass of the event loop in one transaction."""

    def __init__(
        self,
        keeper: Keeper,
        clock: Clock,
        execution: Execution,
        token: str,
        *,
        patterns: Sequence[str] = (),
        revision: str = "",
    ) -> None:
        """`execution` has all its operations; `patterns` are of the events that may reach it.

        `revision` is the version of the code.
        """
        self.revisions = (execution.revision, revision)
        self.patterns = patterns
        self.clock = clock
        self.execution_id = execution.id
        self.function = execution.function
        self.operations: dict[str, Operation] = dict(execution.operations)
        self.token = token
        self.failure: BaseException | None = None
        self._keeper = keeper
        self._seen = execution.change
        self._requests: list[_Request] = []
        self._work = asyncio.Event()
        self._flushing = False
        self._waiters: dict[str, list[asyncio.Future[None]]] = defaultdict(list)
        self._main: asyncio.Task[object] | None = None
        self._waiting_tasks: set[asyncio.Task[object]] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._running = 0
        self._quiet: asyncio.TimerHandle | None = None
        self.suspended = False

    # The life of a turn.

    @asynccontextmanager
    async def recording(self) -> AsyncGenerator[None]:
        """Record while entered; what is not recorded then is left to `finish`."""
        try:
            async with background_task(self._record_all()):
                yield
        finally:
            if self._quiet is not None:
                self._quiet.cancel()

    def lead(self, task: asyncio.Task[object]) -> None:
        """Take the task that runs the code, which is cancelled when all of it waits."""
        self._main = task
        self._tasks.add(task)

    async def finish(
        self, status: ExecutionStatus | None, result: str | None, error: ErrorObject | None
    ) -> Execution:
        """Record what is left and the end of the turn; `status` is None if the code waits.

        Raises StaleToken if the turn was begun anew elsewhere.
        """
        requests, self._requests = self._requests, []
        updates = [update for request in requests for update in request.updates]
        async with self._keeper.change(self.execution_id, _ids(updates)) as change:
            if updates:
                self._record(change, updates)
            for request in requests:
                await send_all(change.transport, request.messages)
            end_turn(change.transition, self.token, status, result, error)
            await send_commands(change)
            return change.execution

    # What the code does.

    def post(self, *updates: OperationUpdate) -> None:
        """Have updates recorded with the next ones."""
        self._requests.append(_Request(updates, ()))

    async def record(self, *updates: OperationUpdate, messages: Sequence[Outgoing] = ()) -> None:
        """Record updates, and wait until that is done. A turn that has ended records nothing."""
        if self.suspended:
            raise asyncio.CancelledError
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.append(_Request(updates, messages, done))
        self._work.set()
        self.begin_work()
        try:
            await done
        finally:
            self.end_work()

    async def wait_ended(self, id: str) -> Operation:
        """Wait until others have ended an operation, or made it ready. The turn may end here."""
        while True:
            operation = self.operations[id]
            if operation.is_ended or operation.status == "READY":
                return operation
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters[id].append(changed)
            task = asyncio.current_task()
            if task is not None:
                self._waiting_tasks.add(task)
            refresh = self._refresh_later(operation)
            self._consider_end()
            try:
                await changed
            finally:
                refresh.cancel()
                if task is not None:
                    self._waiting_tasks.discard(task)

    def _refresh_later(self, operation: Operation) -> TimerHandle:
        due, now = operation.next_due, self.clock.now()
        wait = REFRESH_SECONDS if due is None else min(max(due - now, 0.0), REFRESH_SECONDS)
        return self.clock.call_later(wait, self._refresh)

    def _refresh(self) -> None:
        self._requests.append(_Request((), ()))
        self._work.set()

    def begin_work(self) -> None:
        """Count something that goes on and will end by itself: a step, a transaction."""
        self._running += 1

    def end_work(self) -> None:
        """Count its end."""
        self._running -= 1
        self._consider_end()

    def add_branches(self, branches: Sequence[asyncio.Task[object]]) -> None:
        """Know the tasks of branches, so that a turn ends as soon as all of them wait."""
        self._tasks.update(branches)
        for branch in branches:
            branch.add_done_callback(self._forget)

    @asynccontextmanager
    async def joining(self) -> AsyncGenerator[None]:
        """Know that the current task waits for its branches while entered."""
        task = asyncio.current_task()
        if task is not None:
            self._waiting_tasks.add(task)
        self._consider_end()
        try:
            yield
        finally:
            if task is not None:
                self._waiting_tasks.discard(task)

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        self._consider_end()

    # When all of it waits.

    def _consider_end(self) -> None:
        if self._quiet is not None:
            self._quiet.cancel()
            self._quiet = None
        if not self._waits or self.suspended:
            return
        if self._tasks <= self._waiting_tasks:
            self._end()
        else:
            # A task that the code made itself may be about to do something.
            self._quiet = asyncio.get_running_loop().call_later(_QUIET_SECONDS, self._end_if_quiet)

    @property
    def _waits(self) -> bool:
        blocked = any(not waiter.done() for some in self._waiters.values() for waiter in some)
        recording = self._flushing or any(request.done for request in self._requests)
        return blocked and not self._running and not recording

    def _end_if_quiet(self) -> None:
        self._quiet = None
        if self._waits and not self.suspended:
            self._end()

    def _end(self) -> None:
        self.suspended = True
        if self._main is not None:
            self._main.cancel()

    def _fail(self, error: BaseException) -> None:
        self.failure = error
        for request in self._requests:
            if request.done is not None and not request.done.done():
                request.done.cancel()
        self._requests = []
        self._end()

    # Recording.

    async def _record_all(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            requests, self._requests = self._requests, []
            self._flushing = True
            try:
                goes_on = await self._flush(requests)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # noqa: BLE001  it ends the turn, which raises it
                self._requests = [*requests, *self._requests]
                self._fail(error)
                return
            finally:
                self._flushing = False
            for request in requests:
                if request.done is not None and not request.done.done():
                    request.done.set_result(None)
            if not goes_on:
                self._end()
                return

    async def _flush(self, requests: Sequence[_Request]) -> bool:
        updates = [update for request in requests for update in request.updates]
        # Without what this turn knows already: of a hundred steps, each would load all before it.
        changing = self._keeper.change(self.execution_id, _ids(updates), since=self._seen)
        async with changing as change:
            goes_on = self._record(change, updates)
            for request in requests:
                await send_all(change.transport, request.messages)
            await send_commands(change)
            token, changed = change.transition.token, dict(change.execution.operations)
        self.token = token
        self._learn(changed)
        return goes_on

    def _record(self, change: Change, updates: Sequence[OperationUpdate]) -> bool:
        request = repr(updates).encode()
        return record_checkpoint(change.transition, self.token, updates, request)

    def _learn(self, operations: Mapping[str, Operation]) -> None:
        news = [each for each in operations.values() if each.changed > self._seen]
        for operation in news:
            self.operations[operation.id] = operation
            if operation.is_ended or operation.status == "READY":
                for waiter in self._waiters.pop(operation.id, []):
                    if not waiter.done():
                        waiter.set_result(None)
        self._seen = max((each.changed for each in news), default=self._seen)


async def send_all(transport: Transport, messages: Sequence[Outgoing]) -> None:
    """Send messages with the commit of a change."""
    for each in messages:
        if each.destination:
            await transport.send(each.destination, each.message, each.delay)
        else:
            await transport.emit(each.message, each.delay)


def _ids(updates: Sequence[OperationUpdate]) -> set[str]:
    """The operations that updates are about."""
    return {update.id for update in updates} | {update.parent for update in updates}


def operation_id(parent: str, number: int) -> str:
    """The id of the operation that a context does as its `number`th, the same in every turn."""
    return hashlib.sha256(f"{parent}-{number}".encode()).hexdigest()[:32]
