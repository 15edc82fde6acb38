"""Whatever runs do, no invocation is lost or settled twice, and no limit is passed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from eventmesh.aio.clock import sleep
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine.context import Context
from eventmesh.host import Host, host_services
from eventmesh.model.errors import InvocationError, Reject, RetryLater
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox
from eventmesh.service import Service
from eventmesh.testing.clock import ManualClock

ATTEMPTS = 3
TIMEOUT = 5.0
NO_GRACE = Settings(grace=0.0)

# What one run does: how long it takes, and how it ends. "cancel" is a handler that ends with a
# cancellation nobody asked for; "hang" runs into its timeout.
RUNS = st.tuples(
    st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    st.sampled_from(["ok", "ok", "fail", "hang", "cancel", "later", "reject"]),
)
SCRIPTS = st.lists(st.lists(RUNS, min_size=ATTEMPTS, max_size=ATTEMPTS), min_size=1, max_size=12)


@dataclass
class World:
    """What the handler did, seen from inside it."""

    scripts: list[list[tuple[float, str]]]
    clock: ManualClock
    running: int = 0
    most_at_once: int = 0
    begun: list[tuple[int, int]] = field(default_factory=list)
    succeeded: Counter[int] = field(default_factory=Counter)

    async def run(self, number: int, attempt: int) -> None:
        self.begun.append((number, attempt))
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await self._behave(number, *self.scripts[number][attempt - 1])
        finally:
            self.running -= 1

    async def _behave(self, number: int, takes: float, ending: str) -> None:
        if takes:
            await sleep(self.clock, takes)
        match ending:
            case "ok":
                self.succeeded[number] += 1
            case "fail":
                raise ValueError("as the script says")
            case "hang":
                await sleep(self.clock, TIMEOUT * 2)
            case "cancel":
                raise asyncio.CancelledError
            case "later":
                raise RetryLater(after=2.0)
            case "reject":
                raise Reject


def service_of(world: World, concurrency: int, reserved: int | None, max_pending: int) -> Service:
    app = Service("app")

    @app.function(
        timeout=TIMEOUT,
        concurrency=concurrency,
        reserved_concurrency=reserved,
        max_pending=max_pending,
        retry=Retry(ATTEMPTS, initial=1.0, jitter="none"),
    )
    async def work(number: int, ctx: Context) -> int:
        await world.run(number, ctx.attempt)
        return number

    return app


def expected(script: list[tuple[float, str]]) -> tuple[int, bool]:
    """How many runs a script takes, and whether it ends well."""
    for count, (_, ending) in enumerate(script, start=1):
        if ending in {"ok", "reject"}:
            return count, ending == "ok"
    return ATTEMPTS, False


async def dead_numbers(broker: MemoryBroker) -> list[bytes]:
    numbers: list[bytes] = []
    while (delivery := await broker.get(dead_letters("app.work"))) is not None:
        numbers.append(delivery.message.body)
        delivery.ack()
    return sorted(numbers)


@given(
    scripts=SCRIPTS,
    concurrency=st.integers(1, 4),
    reserved=st.none() | st.integers(1, 3),
)
@settings(max_examples=60)
def test_asynchronous_invocations_end_exactly_once(
    scripts: list[list[tuple[float, str]]], concurrency: int, reserved: int | None
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        world = World(scripts, clock)
        app = service_of(world, concurrency, reserved, max_pending=10)
        async with (
            MemoryBroker(clock) as broker,
            host_services([app], broker, NO_GRACE, clock=clock, http=None) as host,
        ):
            for number in range(len(scripts)):
                await host.caller.send("app.work", {"number": number})
            await clock.advance("10m")

            runs = Counter(number for number, _ in world.begun)
            dead = []
            for number, script in enumerate(scripts):
                count, ends_well = expected(script)
                attempts = [attempt for which, attempt in world.begun if which == number]
                assert attempts == list(range(1, count + 1))
                assert runs[number] == count
                assert world.succeeded[number] == ends_well
                if not ends_well:
                    dead.append(f'{{"number":{number}}}'.encode())
            assert await dead_numbers(broker) == sorted(dead)
            assert await broker.depth(inbox("app.work")) == 0
            assert world.most_at_once <= min(concurrency, reserved or concurrency)
            assert host.statistics()["app.work"]["running"] == 0

    asyncio.run(scenario())


@given(
    scripts=SCRIPTS,
    concurrency=st.integers(1, 4),
    stops=st.lists(st.sampled_from([0.0, 0.25, 0.75, 1.5, 4.0]), min_size=1, max_size=5),
)
@settings(max_examples=60)
def test_a_run_that_is_cancelled_by_a_stop_is_repeated_and_spends_no_attempt(
    scripts: list[list[tuple[float, str]]], concurrency: int, stops: list[float]
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        world = World(scripts, clock)
        app = service_of(world, concurrency, None, max_pending=10)

        def start(broker: MemoryBroker) -> Host:
            return host_services([app], broker, NO_GRACE, clock=clock, http=None)

        async with MemoryBroker(clock) as broker:
            async with start(broker) as host:
                for number in range(len(scripts)):
                    await host.caller.send("app.work", {"number": number})
            for seconds in stops:
                async with start(broker):
                    await clock.advance(seconds)
                assert world.running == 0
            async with start(broker):
                await clock.advance("10m")

            for number, script in enumerate(scripts):
                count, ends_well = expected(script)
                attempts = [attempt for which, attempt in world.begun if which == number]
                assert sorted(set(attempts)) == list(range(1, count + 1))
                assert attempts == sorted(attempts)
                assert world.succeeded[number] == ends_well
            assert len(await dead_numbers(broker)) == sum(
                not expected(script)[1] for script in scripts
            )
            assert world.most_at_once <= concurrency

    asyncio.run(scenario())


@given(
    scripts=SCRIPTS,
    concurrency=st.integers(1, 3),
    max_pending=st.integers(0, 3),
    reserved=st.none() | st.integers(1, 3),
)
@settings(max_examples=60)
def test_synchronous_callers_get_one_answer_each_within_their_deadline(
    scripts: list[list[tuple[float, str]]], concurrency: int, max_pending: int, reserved: int | None
) -> None:
    async def scenario() -> None:
        clock = ManualClock()
        world = World(scripts, clock)
        app = service_of(world, concurrency, reserved, max_pending)
        answers: dict[int, str] = {}

        async def call(host: Host, number: int) -> None:
            try:
                await host.caller.invoke("app.work", {"number": number}, timeout=20)
            except InvocationError as error:
                answers[number] = error.code
            else:
                answers[number] = "ok"

        async with (
            MemoryBroker(clock) as broker,
            host_services([app], broker, NO_GRACE, clock=clock, http=None) as host,
            asyncio.TaskGroup() as callers,
        ):
            for number in range(len(scripts)):
                callers.create_task(call(host, number))
            await clock.advance("20s")
            assert answers.keys() == set(range(len(scripts)))

            ran = {number for number, attempt in world.begun if attempt == 1}
            for number, answer in answers.items():
                if answer == "throttled":
                    assert number not in ran
                if answer == "ok":
                    assert scripts[number][0][1] == "ok"
            assert len(world.begun) == len(ran)  # A synchronous invocation runs at most once.
            assert world.most_at_once <= min(concurrency, reserved or concurrency)

    asyncio.run(scenario())
