"""A mesh inside a test."""

from __future__ import annotations

import asyncio
from asyncio import sleep as real_sleep  # Tests may put `TestMesh.sleep` in its place.
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

from eventmesh.aio.clock import sleep
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.host import Host, host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.settings import Settings
from eventmesh.service import Service
from eventmesh.testing.activity import Activity
from eventmesh.testing.broker import RecordingBroker
from eventmesh.testing.clock import START, ManualClock
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
"""Real seconds in which a mesh has to start, and to stop."""


class TestMesh(Caller):
    """Services running on an embedded broker of their own, by a clock that the test moves.

        async with TestMesh(orders, stubs={"mailer.receipt": None}) as mesh:
            receipt = await mesh.invoke(place_order, Order(item="tea"))
            await mesh.settle()
            assert [event.type for event in mesh.emitted] == ["order.placed"]

    `stubs` stand in for functions, of other services or of these: a callable is bound to the
    payload like any function, an exception is raised, anything else is returned. `resources`
    replace resources by their type; they are neither opened nor closed. `start` is where the
    clock begins: a datetime with a time zone, or "2026-12-24T18:00:00+01:00". With `http` the
    routes are served at `url`, on a free port unless `settings` say otherwise.

    Entering raises what the launcher would complain of: DeclarationError, SettingsError, and
    whatever a resource raises. Leaving cancels what still runs. It raises AssertionError when an
    asynchronous invocation became a dead letter, or failed and waits for a retry; a test that
    wants this says `allow_failures=True`. In a test that has failed already, the error gets
    them as a note.

    `timeout` (a duration) is the real time that the test waits for one call or for the mesh to
    settle. The timeouts of functions and callers are on the mesh's clock, which stands still.
    """

    __test__ = False  # Its name begins as test classes do; pytest is not to collect it.

    def __init__(
        self,
        *services: Service,
        stubs: Stubs | None = None,
        resources: Resources | None = None,
        start: datetime | str | None = None,
        http: bool = False,
        settings: Settings = ANY_FREE_PORT,
        timeout: Duration = 10.0,
        allow_failures: bool = False,
    ) -> None:
        self.clock: Final = ManualClock(
            START if start is None else parse_datetime(start, "TestMesh(start=…)").timestamp()
        )
        self._timeout = seconds(timeout, "TestMesh(timeout=…)")
        self._activity = Activity()
        self._history = History()
        self.broker: Final = RecordingBroker(self.clock, self._activity, self._history)
        super().__init__(_Transport(self.broker, self._activity, self._timeout), self.clock, "")
        self._services = prepare_services(
            services, stubs or {}, resources or {}, self._activity.watched
        )
        self._settings = settings
        self._http = http
        self._allow_failures = allow_failures
        self._stopping = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        # The services run in a task of their own: fixtures are entered in one task and left in
        # another, which what is inside need not survive.
        await self._tasks.__aenter__()
        started: asyncio.Future[Host] = asyncio.get_running_loop().create_future()
        self._running = self._tasks.create_task(self._run(started))
        try:
            async with self._activity.in_time(START_STOP_LIMIT, "the mesh did not start"):
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
        failures = [] if self._allow_failures else self._failures()
        try:
            await self._stop()
        finally:
            await self._end()
        if failures:
            told = "Invocations failed, which a test expects that says allow_failures=True:"
            told = "\n".join([told, *failures])
            if error is None:
                raise AssertionError(told)
            error.add_note(told)

    @property
    def now(self) -> datetime:
        """What the mesh's clock says, in UTC."""
        return datetime.fromtimestamp(self.clock.now(), UTC)

    @property
    def url(self) -> str:
        """Where the HTTP triggers listen. Raises RuntimeError for a mesh without `http`."""
        if not self._http:
            raise RuntimeError("this mesh does not listen: make it with TestMesh(..., http=True)")
        return self._host.addresses["http"]

    @property
    def records(self) -> list[Record]:
        """All that happened, in its order; what follows are its kinds. The latest 10,000 stay."""
        return self._history.of(Record)

    @property
    def invoked(self) -> list[Invoked]:
        """The synchronous calls that were made."""
        return self._history.of(Invoked)

    @property
    def sent(self) -> list[Sent]:
        """The asynchronous invocations, and the messages to queues, that were stored."""
        return self._history.of(Sent)

    @property
    def emitted(self) -> list[Emitted]:
        """The events that were published, whether or not anybody subscribed."""
        return self._history.of(Emitted)

    @property
    def fired(self) -> list[Fired]:
        """What the timers fired."""
        return self._history.of(Fired)

    @property
    def retried(self) -> list[Retried]:
        """The invocations that failed and were stored to be tried again."""
        return self._history.of(Retried)

    @property
    def dead_letters(self) -> list[DeadLettered]:
        """The invocations that became dead letters."""
        return self._history.of(DeadLettered)

    async def settle(self) -> None:
        """Wait until all that is due now has ended, and all that it caused.

        Handlers are waited for, in threads and in real I/O too, and so is what they send, emit
        and retry without a delay. What waits for the clock is not: a delay, a retry, a batch that
        is not full, a handler in `sleep`. Nor is what the mesh cannot know of: an HTTP request on
        its way, a task that a handler left behind.

        Raises TimeoutError, which says what still runs, when the mesh's `timeout` is over.
        """
        async with self._activity.in_time(self._timeout, "the mesh did not settle"):
            await self._settled()

    async def advance(self, duration: Duration) -> None:
        """Move the clock on: timers, retries and delayed messages come due, in their order.

        The mesh settles before the clock moves, and again for each thing that is due, so that all
        happens at its own time. Raises TimeoutError as `settle` does.
        """
        await self.clock.advance(duration, self.settle)

    async def sleep(self, duration: Duration) -> None:
        """What a slow handler or stub awaits: a wait on the mesh's clock, which the test moves."""
        delay = seconds(duration, "duration")
        if not delay:
            await real_sleep(0)
            return
        with self._activity.waiting(f"the clock ({delay:g} s)"):
            await sleep(self.clock, delay)

    async def _settled(self) -> None:
        while True:
            await self._activity.wait_quiet()
            # No handler has anything to do: what is left is the engine passing things on, which
            # waits for nothing outside the event loop.
            await self.clock.settle()
            if self._activity.quiet:
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
                ) as host,
            ):
                started.set_result(host)
                await self._stopping.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def _stop(self) -> None:
        async with self._activity.in_time(START_STOP_LIMIT, "the mesh did not stop"):
            self._stopping.set()
            await self.clock.settle()
            if self._activity.running:
                # They have the time of grace, which would not pass on a clock that stands still.
                await self.clock.advance(self._settings.grace)
            await asyncio.wait([self._running])

    async def _end(self) -> None:
        self._running.cancel()
        await self._tasks.__aexit__(None, None, None)

    def _failures(self) -> list[str]:
        """The asynchronous invocations that have failed and not succeeded since."""
        now = self.now
        return [_describe_dead_letter(letter) for letter in self.dead_letters] + [
            f"{retry.function} failed and waits for attempt {retry.attempt}"
            for retry in self.retried
            if retry.time + timedelta(seconds=retry.delay) > now
        ]


class _Transport(BrokerTransport):
    """The calls that a test makes: it waits for them in real time."""

    def __init__(self, broker: RecordingBroker, activity: Activity, limit: float) -> None:
        super().__init__(broker)
        self._activity = activity
        self._limit = limit

    async def request(self, function: str, message: Message) -> Result:
        async with self._activity.in_time(self._limit, f"{function} did not answer"):
            return await super().request(function, message)


def _describe_dead_letter(letter: DeadLettered) -> str:
    told = f"{letter.function} was set aside: {letter.reason}"
    return f"{told}\n{letter.traceback or letter.error_message}".rstrip()
