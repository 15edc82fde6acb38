"""What the code of a durable function sees: operations that are recorded, and done once."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, overload

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.operation import OperationUpdate
from eventmesh.durable.subscription import make_subscription
from eventmesh.engine.codecs.json import decode, encode
from eventmesh.engine.context import Context
from eventmesh.executions.branches import run_branches, run_context
from eventmesh.executions.errors import operation_error
from eventmesh.executions.events.expected import ExpectedEvent
from eventmesh.executions.operations import Operations
from eventmesh.executions.outbox import RecordedTransport
from eventmesh.executions.session import Session
from eventmesh.executions.step import StepRun, find_name, find_result_type, read_result
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.event import covers
from eventmesh.model.invocation import Invocation
from eventmesh.model.retry import Retry

T = TypeVar("T")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")

NO_MATCH: Final[Mapping[str, object]] = {}

DEFAULT_STEP_RETRY: Final = Retry()
"""How a step that fails is tried again, unless it is told: as asynchronous invocations are."""


class Callback(Generic[T]):
    """Something that somebody else completes, by the `id` that this has."""

    def __init__(self, session: Session, operation: str, result_type: Any) -> None:
        self._session = session
        self._operation = operation
        self._type = result_type

    @property
    def id(self) -> str:
        """What completes it. Who knows it may: give it to nobody else."""
        return self._session.operations[self._operation].callback_id

    async def result(self) -> T:
        """Wait until it is completed, for as long as it takes, without a process.

        Raises FunctionError if it was completed with an error, and InvocationTimeout.
        """
        ended = await self._session.wait_ended(self._operation)
        if ended.status != "SUCCEEDED":
            raise operation_error(ended)
        result: T = read_result(ended, self._type)
        return result


class DurableContext(Context):
    """The context of a durable function: what is done with it is recorded, and done once.

    `invoke`, `send` and `emit` are recorded too. Another function is invoked once, and its result
    is waited for without a process, for as long as it takes.

    The function is run from its beginning whenever it goes on, and everything that it did before
    returns at once what it returned then. So the code must ask for the same operations in the same
    order: what may differ (the time, a random number, a database) belongs in a `step`.
    """

    __slots__ = ("_operations", "_session")

    def __init__(
        self,
        invocation: Invocation,
        transport: Transport,
        clock: Clock,
        outgoing: Outgoing | None,
        *,
        session: Session,
        operations: Operations | None = None,
    ) -> None:
        self._session = session
        self._operations = operations or Operations(session)
        super().__init__(
            invocation, RecordedTransport(transport, session, self._operations), clock, outgoing
        )

    @overload
    async def step(
        self,
        function: Callable[[*Ts], Coroutine[Any, Any, T]],
        /,
        *arguments: *Ts,
        name: str = "",
        retry: Retry = DEFAULT_STEP_RETRY,
        at_most_once: bool = False,
    ) -> T: ...
    @overload
    async def step(
        self,
        function: Callable[[*Ts], T],
        /,
        *arguments: *Ts,
        name: str = "",
        retry: Retry = DEFAULT_STEP_RETRY,
        at_most_once: bool = False,
    ) -> T: ...
    async def step(
        self,
        function: Callable[[*Ts], Any],
        /,
        *arguments: *Ts,
        name: str = "",
        retry: Retry = DEFAULT_STEP_RETRY,
        at_most_once: bool = False,
    ) -> Any:
        """Run a function once, and record what it returns.

        What it returns is encoded as JSON, and decoded as the type that its annotation says. If it
        raises, it is tried again as `retry` says, and between two tries no process waits. A process
        that dies in it runs it again, unless `at_most_once`, where that try has failed. A function
        that is no coroutine function runs in a thread.

        Raises FunctionError with the type and message of the last error, PayloadInvalid for a
        result that is no JSON, and DeclarationError if the code has changed.
        """
        name = name or find_name(function)
        id = self._operations.next_id("STEP", name)
        run = StepRun(self._session, self._operations, id, name, retry, at_most_once=at_most_once)
        return await run.finish(function, arguments, find_result_type(function))

    async def wait(self, duration: Duration, *, name: str = "") -> None:
        """Wait, without a process. `duration` is in whole seconds, rounded up, up to 366 days."""
        length = max(math.ceil(seconds(duration, "ctx.wait(…)")), 1)
        id = await self._operations.start("WAIT", name, "Wait", duration=length)
        await self._session.wait_ended(id)

    async def callback(
        self,
        name: str = "",
        *,
        returns: type[T] | Any = Any,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
    ) -> Callback[T]:
        """Open something that somebody else completes: a person, a webhook, another system.

        `timeout` is the longest time until it is completed, and `heartbeat` that between two signs
        of life; None is for ever. Its result is validated as the type `returns`.
        """
        timeouts = {"timeout": _whole(timeout), "heartbeat_timeout": _whole(heartbeat)}
        id = await self._operations.start("CALLBACK", name, "Callback", **timeouts)
        return Callback(self._session, id, returns)

    async def expect_event(
        self,
        pattern: str,
        /,
        *,
        match: Mapping[str, object] = NO_MATCH,
        subject: str = "",
        timeout: Duration | None = None,
        returns: type[T] | Any = Any,
        name: str = "",
    ) -> ExpectedEvent[T]:
        """Begin to wait for an event, and return what has it later.

        One that comes from now on is kept, whatever is done before its `result()` is awaited. It
        takes what `wait_for_event` takes, and raises DeclarationError as that does.
        """
        if not any(covers(each, pattern) for each in self._session.patterns):
            raise DeclarationError(
                f"{self.function} cannot wait for the event {pattern!r}, which does not come to "
                f"it: add on.event({pattern!r}, starts=False) to its triggers"
            )
        comparable: dict[str, Any] = decode(encode(dict(match)), "match")
        id = await self._operations.start(
            "CALLBACK",
            name or pattern,
            "WaitForEvent",
            timeout=_whole(timeout),
            subscription=make_subscription(pattern, comparable, subject),
        )
        return ExpectedEvent(self._session, id, pattern, returns)

    async def wait_for_event(
        self,
        pattern: str,
        /,
        *,
        match: Mapping[str, object] = NO_MATCH,
        subject: str = "",
        timeout: Duration | None = None,
        returns: type[T] | Any = Any,
        name: str = "",
    ) -> T:
        """Wait for an event, without a process, and return its data.

        `pattern` is that of its type, which a trigger of the function must cover: `on.event(…,
        starts=False)`. Each field in `match`, such as {"order.id": 7}, must be in the event's data
        and have that value; with a `subject` the event must have it. Every execution that waits
        for the event gets it. `timeout` (a duration) is the longest wait; None is for ever. The
        data is validated as the type `returns`; `Event` or `Event[T]` returns the event itself.

        An event that came before is not seen: where something that this code does may cause the
        event, begin with `expect_event`. Raises InvocationTimeout, PayloadInvalid, and
        DeclarationError.
        """
        expected: ExpectedEvent[T] = await self.expect_event(
            pattern, match=match, subject=subject, timeout=timeout, returns=returns, name=name
        )
        return await expected.result()

    def _next_id(self) -> str:
        """Return the id of the next message, the same in every turn."""
        return f"{self._session.execution_id}-{self._operations.peek_id()}"

    async def child(
        self, function: Callable[[DurableContext], Coroutine[Any, Any, T]], /, *, name: str = ""
    ) -> T:
        """Run code with a context of its own, whose result is recorded as one.

        Raises FunctionError if it raised, also when the execution goes on later.
        """
        return await self._run_child(function, name or find_name(function), "RunInChildContext")

    async def parallel(
        self,
        *branches: Callable[[DurableContext], Awaitable[T]],
        name: str = "parallel",
        max_concurrency: int | None = None,
    ) -> list[T]:
        """Run branches side by side, each with a context of its own; return their results in order.

        All of them come to an end. Then the first error, in their order, is raised.
        """

        async def run_all(outer: DurableContext) -> list[T]:
            runs = [
                outer.reserve_child(branch, f"{name}-{index}", "ParallelBranch")
                for index, branch in enumerate(branches)
            ]
            return await run_branches(self._session, runs, max_concurrency)

        return await self._run_group(run_all, name, "Parallel")

    async def map(
        self,
        items: Sequence[S],
        function: Callable[[DurableContext, S], Awaitable[T]],
        /,
        *,
        name: str = "map",
        max_concurrency: int | None = None,
    ) -> list[T]:
        """Run a function for each item, side by side; return the results in the items' order."""

        async def run_all(outer: DurableContext) -> list[T]:
            runs = [
                outer.reserve_child(_bound(function, item), f"{name}-{index}", "MapIteration")
                for index, item in enumerate(items)
            ]
            return await run_branches(self._session, runs, max_concurrency)

        return await self._run_group(run_all, name, "Map")

    async def wait_until(
        self,
        condition: Callable[[], Awaitable[T] | T],
        /,
        *,
        every: Duration = "10s",
        name: str = "",
    ) -> T:
        """Ask again until the condition returns something true, and return that.

        Between two times no process waits. An error of the condition is the end of it: raises
        FunctionError. `every` is in whole seconds, rounded up.
        """
        name = name or find_name(condition)
        id = self._operations.next_id("STEP", name)
        run = StepRun(
            self._session, self._operations, id, name, Retry(attempts=1), at_most_once=False
        )
        pause = max(math.ceil(seconds(every, "ctx.wait_until(every=…)")), 1)
        result: T = await run.poll(condition, pause, find_result_type(condition))
        return result

    def transaction(self, *, key: str = "") -> Any:
        """Raise SettingsError: a durable function is no single transaction."""
        del key
        raise SettingsError(
            f"{self.function}: ctx.transaction() cannot be used in a durable function, whose code "
            "is run many times: change the database in a step"
        )

    def reserve_child(
        self, function: Callable[[DurableContext], Awaitable[T]], name: str, subtype: str
    ) -> Callable[[], Coroutine[Any, Any, T]]:
        """Give a child its id now, and return what runs it later, in whatever order."""
        id = self._operations.next_id("CONTEXT", name)

        async def run() -> T:
            return await self._run_context(id, function, name, subtype)

        return run

    async def _run_group(
        self,
        run_all: Callable[[DurableContext], Coroutine[Any, Any, list[T]]],
        name: str,
        subtype: str,
    ) -> list[T]:
        """Run a context whose result is that of its children, which are recorded themselves."""
        id = self._operations.next_id("CONTEXT", name)
        known = self._session.operations.get(id)
        inner = self._inside(id)
        if known is not None and known.status == "SUCCEEDED":
            return await run_all(inner)
        return await self._run_context(id, run_all, name, subtype, keep=False)

    async def _run_child(
        self, function: Callable[[DurableContext], Awaitable[T]], name: str, subtype: str
    ) -> T:
        id = self._operations.next_id("CONTEXT", name)
        return await self._run_context(id, function, name, subtype)

    async def _run_context(
        self,
        id: str,
        function: Callable[[DurableContext], Awaitable[T]],
        name: str,
        subtype: str,
        *,
        keep: bool = True,
    ) -> T:
        session, parent = self._session, self._operations.parent
        known = session.operations.get(id)
        if known is not None and known.is_ended:
            if known.status != "SUCCEEDED":
                raise operation_error(known)
            result: T = read_result(known, find_result_type(function))
            return result
        update = OperationUpdate(id, "CONTEXT", "START", name=name, parent=parent, subtype=subtype)
        if known is None:
            session.post(update)
        inner = self._inside(id)
        return await run_context(
            session, update, lambda: function(inner), find_result_type(function), keep=keep
        )

    def _inside(self, id: str) -> DurableContext:
        return DurableContext(
            self.invocation,
            self._transport_below,
            self._clock,
            self._outgoing,
            session=self._session,
            operations=Operations(self._session, id),
        )

    def _deadline(self, now: float, timeout: Duration | None) -> float:
        if timeout is not None:
            raise DeclarationError(
                "ctx.invoke of a durable function takes no timeout=: it waits without a process, "
                "and the other function has a timeout of its own"
            )
        return super()._deadline(now, timeout)

    @property
    def _transport_below(self) -> Transport:
        transport = self._transport
        return transport.below if isinstance(transport, RecordedTransport) else transport


def _bound(
    function: Callable[[DurableContext, S], Awaitable[T]], item: S
) -> Callable[[DurableContext], Awaitable[T]]:
    def run(ctx: DurableContext) -> Awaitable[T]:
        return function(ctx, item)

    run.__annotations__["return"] = find_result_type(function)
    return run


def _whole(duration: Duration | None) -> int:
    return 0 if duration is None else max(math.ceil(seconds(duration, "timeout")), 1)
