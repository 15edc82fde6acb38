"""A mesh in a test."""

from __future__ import annotations

import asyncio
from asyncio import sleep as real_sleep  # Tests may put `TestMesh.sleep` in its place.
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

from eventmesh.abc import Handler
from eventmesh.aio.clock import sleep
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.host import Host, host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.access.identity import ANONYMOUS, Identity
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.settings import Settings
from eventmesh.model.topology import check_function
from eventmesh.service import Service
from eventmesh.testing.activity import Activity
from eventmesh.testing.broker import RecordingBroker
from eventmesh.testing.clock import START, ManualClock
from eventmesh.testing.crashes import Crashes
from eventmesh.testing.records import (
    DeadLettered,
    Emitted,
    Fired,
    History,
    Invoked,
    Record,
    Retried,
    Sent,
)
from eventmesh.testing.stubs import Resources, Stubs, prepare_services
from eventmesh.triggers.timer.trigger import parse_datetime

ANY_FREE_PORT: Final = Settings(http_port=0)

START_STOP_LIMIT: Final = 10.0
"""Real seconds in which a mesh must start, and in which it must stop."""


class _MeshClock(ManualClock):
    """The clock of a mesh, which does not wait for runs that sleep."""

    def __init__(self, start: float, activity: Activity) -> None:
        super().__init__(start)
        self._activity = activity

    def sleeping(self, delay: float) -> AbstractContextManager[None]:
        """See `WatchedClock`."""
        return self._activity.mark_waiting(f"the clock ({delay:g} s)")


class TestMesh(Caller):
    """Services on an embedded broker of their own, with a clock that the test moves.

        async with TestMesh(orders, stubs={"mailer.receipt": None}) as mesh:
            receipt = await mesh.invoke(place_order, Order(item="tea"))
            await mesh.settle()
            assert [event.type for event in mesh.emitted] == ["order.placed"]

    `stubs` replace functions, of other services or of these: a callable is bound to the payload
    like any function, an exception is raised, any other value is returned. `resources` replace
    resources by their type; they are neither opened nor closed. `start` is the first time of the
    clock: a datetime with a time zone, or "2026-12-24T18:00:00+01:00". With `http` the routes are
    served at `url`, on a free port unless `settings` name one. `store` is the database of
    services that name none, such as "sqlite:///:memory:". The test calls as the function
    `caller`, "service.function", where that is given, and for `identity`. Isolated functions run in
    the process of the test, where stubs and patches reach them. With `isolate` they get processes
    of their own, in which the time is the real one and resources are not replaced. With `crash_at`
    the run that comes to that point of durable functions' records ends there, as if its process had
    been killed: see `each_crash`.

    Entering raises the errors that the launcher would report: DeclarationError, SettingsError, and
    errors of resources. Leaving cancels running invocations. It raises AssertionError when an
    asynchronous invocation became a dead letter, or failed and waits for a retry; a test that
    expects this says `allow_failures=True`. In a test that has failed already, its error gets a
    note about them. A crash that was planned and did not happen is an AssertionError too.

    `timeout` (a duration) is the real time that the test waits for one call or for the mesh to
    settle. The timeouts of functions and callers are on the mesh's clock, which stands still.
    """

    __test__ = False  # Its name looks like a test class; pytest must not collect it.

    def __init__(
        self,
        *services: Service,
        stubs: Stubs | None = None,
        resources: Resources | None = None,
        start: datetime | str | None = None,
        http: bool = False,
        settings: Settings = ANY_FREE_PORT,
        store: str = "",
        timeout: Duration = 10.0,
        allow_failures: bool = False,
        caller: str = "",
        identity: Identity = ANONYMOUS,
        isolate: bool = False,
        crash_at: int = 0,
    ) -> None:
        self._activity = Activity()
        self.clock: Final[ManualClock] = _MeshClock(
            START if start is None else parse_datetime(start, "TestMesh(start=…)").timestamp(),
            self._activity,
        )
        self._timeout = seconds(timeout, "TestMesh(timeout=…)")
        self._crashes = Crashes(crash_at)
        self._entered = False
        self._history = History()
        self.broker: Final = RecordingBroker(self.clock, self._activity, self._history)
        super().__init__(
            _Transport(self.broker, self._activity, self._timeout),
            self.clock,
            check_function(caller) if caller else "",
            encode_identity(identity),
        )
        self._services = prepare_services(services, stubs or {}, resources or {}, self._observe)
        self._settings = replace(settings, store=store) if store else settings
        self._http = http
        self._isolate = isolate
        self._allow_failures = allow_failures
        self._stopping = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._entered = True
        # The services run in a task of their own: a fixture may be entered in one task and left in
        # another, which not all code inside allows.
        await self._tasks.__aenter__()
        started: asyncio.Future[Host] = asyncio.get_running_loop().create_future()
        self._running = self._tasks.create_task(self._run(started))
        try:
            async with self._activity.limit_time(START_STOP_LIMIT, "the mesh did not start"):
                self._host = await started
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        problems = self._find_problems()
        try:
            await self._stop()
        finally:
            await self._end()
        report = "\n".join([*problems, *map(str, self._crashes.happened)])
        if error is None and problems:
            raise AssertionError(report)
        if error is not None and report:
            error.add_note(report)

    @classmethod
    def each_crash(cls, *services: Service, **options: Any) -> Iterator[Self]:
        """Yield meshes in which a process dies, each at another point, and a last one without that.

            for mesh in TestMesh.each_crash(orders):
                async with mesh:
                    await mesh.send(place, order)
                    await mesh.advance("30d")
                    assert paid == [order]

        It takes what TestMesh takes. There are two points for each transaction in which executions
        of durable functions are recorded: the run ends instead of it, or at once after it. Its
        message is delivered again then, as after a kill; a synchronous caller gets
        BrokerUnavailable. Cancelling what it did runs `finally` blocks, which record nothing; other
        runs go on. A test that fails says in a note where the crash was.

        Raises RuntimeError if a mesh was not entered.
        """
        point = 0
        crashed = True
        while crashed:
            point += 1
            mesh = cls(*services, **options, crash_at=point)
            mesh._crashes.exact = False
            yield mesh
            if not mesh._entered:
                raise RuntimeError("a mesh of each_crash was not entered: use 'async with mesh:'")
            crashed = bool(mesh.crashes)

    def crash(self, *, after: str = "", during: str = "") -> None:
        """Let a process die at the next end of the operation of that name: a step, a wait, a call.

        It dies when the end was recorded (`after`), or instead of that (`during`): a step has been
        run then, and is run again. An operation has the name that it was given, or that of its
        function. Leaving the mesh raises AssertionError if it did not come to that.

        Raises ValueError unless one of the two is given.
        """
        if bool(after) == bool(during):
            raise ValueError("crash() takes the name of an operation as after= or as during=")
        self._crashes.plan(after or during, recorded=bool(after))

    @property
    def crashes(self) -> list[str]:
        """Where processes died: the function, and what was recorded then, or was about to be."""
        return list(self._crashes.happened)

    @property
    def now(self) -> datetime:
        """The time of the mesh's clock, in UTC."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    @property
    def url(self) -> str:
        """The URL of the HTTP triggers. Raises RuntimeError for a mesh without `http`."""
        if not self._http:
            raise RuntimeError("this mesh does not serve HTTP: use TestMesh(..., http=True)")
        return self._host.addresses["http"]

    @property
    def records(self) -> list[Record]:
        """The latest 10,000 records of all kinds, in order."""
        return self._history.select(Record)

    @property
    def invoked(self) -> list[Invoked]:
        """The synchronous calls that were made."""
        return self._history.select(Invoked)

    @property
    def sent(self) -> list[Sent]:
        """The asynchronous invocations, and the messages to queues, that were stored."""
        return self._history.select(Sent)

    @property
    def emitted(self) -> list[Emitted]:
        """The events that were published, with or without subscribers."""
        return self._history.select(Emitted)

    @property
    def fired(self) -> list[Fired]:
        """The firings of timers."""
        return self._history.select(Fired)

    @property
    def retried(self) -> list[Retried]:
        """The invocations that failed and were stored to be tried again."""
        return self._history.select(Retried)

    @property
    def dead_letters(self) -> list[DeadLettered]:
        """The invocations that became dead letters."""
        return self._history.select(DeadLettered)

    async def settle(self) -> None:
        """Wait until all due work has ended, with all work that it causes.

        It waits for handlers, also in threads and in real I/O, and for what they send, emit and
        retry without a delay. It does not wait for what needs the clock to move: a delay, a retry,
        a batch that is not full, a handler in `sleep`. It cannot wait for work that the mesh does
        not know of: an HTTP request on its way, a task that a handler left behind.

        Raises TimeoutError, with the runs that go on, after the mesh's `timeout`.
        """
        async with self._activity.limit_time(self._timeout, "the mesh did not settle"):
            await self._wait_settled()

    async def advance(self, duration: Duration) -> None:
        """Move the clock on: timers, retries and delayed messages come due, in their order.

        The mesh settles before the clock moves, and after each timer, so that everything happens at
        its own time. Raises TimeoutError as `settle` does.
        """
        await self.clock.advance(duration, self.settle)

    async def sleep(self, duration: Duration) -> None:
        """Wait on the mesh's clock, which the test moves; for slow handlers and stubs."""
        delay = seconds(duration, "duration")
        if not delay:
            await real_sleep(0)
            return
        await sleep(self.clock, delay)

    async def _wait_settled(self) -> None:
        while True:
            await self._activity.wait_quiet()
            # No handler is busy. What remains is the engine's own work, which waits for nothing
            # outside the event loop.
            await self.clock.settle()
            # What a handler has committed is published in tasks that nobody waits for.
            published = await self._host.stores.wait_idle()
            if self._activity.quiet and not published:
                return

    async def _run(self, started: asyncio.Future[Host]) -> None:
        settings = self._settings
        try:
            async with (
                self.broker,
                host_services(
                    self._services,
                    self.broker,
                    settings,
                    clock=self.clock,
                    http=serve_functions if self._http else None,
                    isolate=self._isolate,
                    share_stores=False,
                    watch_changes=self._crashes.watch,
                ) as host,
            ):
                started.set_result(host)
                await self._stopping.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _stop(self) -> None:
        async with self._activity.limit_time(START_STOP_LIMIT, "the mesh did not stop"):
            self._stopping.set()
            await self.clock.settle()
            if self._activity.running:
                # They have the grace time, which does not pass on a clock that stands still.
                await self.clock.advance(self._settings.grace)
            await asyncio.wait([self._running])

    async def _end(self) -> None:
        self._running.cancel()
        await self._tasks.__aexit__(None, None, None)

    def _observe(self, handler: Handler) -> Handler:
        return self._activity.observe(self._crashes.observe(handler))

    def _find_problems(self) -> list[str]:
        """Describe what a test has to know that sees nothing of it."""
        problems = [] if self._allow_failures else self._failures()
        if problems:
            summary = "Invocations failed; if the test expects that, pass allow_failures=True:"
            problems.insert(0, summary)
        return [*problems, *self._crashes.find_missed()]

    def _failures(self) -> list[str]:
        """Describe the asynchronous invocations that have failed and not succeeded since."""
        now = self.now
        return [_describe_dead_letter(letter) for letter in self.dead_letters] + [
            f"{retry.function} failed and waits for attempt {retry.attempt}"
            for retry in self.retried
            if retry.time + timedelta(seconds=retry.delay) > now
        ]


class _Transport(BrokerTransport):
    """Carries the calls of a test, which waits for them in real time."""

    def __init__(self, broker: RecordingBroker, activity: Activity, limit: float) -> None:
        super().__init__(broker)
        self._activity = activity
        self._limit = limit

    async def request(self, function: str, message: Message) -> Result:
        async with self._activity.limit_time(self._limit, f"{function} did not answer"):
            return await super().request(function, message)


def _describe_dead_letter(letter: DeadLettered) -> str:
    reason = f"{letter.function} became a dead letter: {letter.reason}"
    return f"{reason}\n{letter.traceback or letter.error_message}".rstrip()
