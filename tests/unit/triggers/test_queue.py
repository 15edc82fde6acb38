"""Functions fired by the messages of a queue, one by one and in batches."""

import asyncio

import pytest
from pydantic import BaseModel

from eventmesh.aio.clock import sleep
from eventmesh.engine.context import Context
from eventmesh.engine.settlement import ERROR_TYPE, REASON, reset_for_redrive
from eventmesh.model.errors import DeclarationError, PartialFailure, Reject, RetryLater
from eventmesh.model.retry import Retry
from eventmesh.model.topology import dead_letters, inbox, named, to_function, to_queue
from eventmesh.service import Service
from eventmesh.triggers import on

JOBS = named("jobs")
RETRY = Retry(3, initial=10, jitter="none", max_age=1000)


class Job(BaseModel):
    n: int


async def hang():
    await asyncio.Event().wait()


async def fail():
    raise ValueError("of the service's own middleware")


@pytest.fixture
def app():
    return Service("app")


@pytest.fixture
def put(broker, message):
    """Puts jobs into the queue, as another system would: nothing but a body and a time."""

    async def put(*bodies, **properties):
        await broker.declare([JOBS])
        for number, body in enumerate(bodies):
            text = body if isinstance(body, bytes) else b'{"n": %d}' % body
            await broker.publish(to_queue(JOBS), message(text, id=f"job-{number}", **properties))

    return put


@pytest.fixture
def take(broker):
    async def take(queue):
        messages = []
        while (delivery := await broker.get(queue)) is not None:
            delivery.ack()
            messages.append(delivery.message)
        return messages

    return take


class TestOneByOne:
    """Single messages."""

    async def test_each_message_fires_the_function(self, app, start, put, clock, broker):
        seen = []

        @app.function(on.queue("jobs"))
        async def work(job: Job, ctx: Context) -> None:
            seen.append((job.n, ctx.trigger, ctx.id))

        await put(1, 2)
        async with start(app):
            await clock.settle()
        assert seen == [(1, "queue", "job-0"), (2, "queue", "job-1")]
        assert await broker.depth(JOBS) == 0

    async def test_a_retry_goes_through_the_functions_inbox(self, app, start, put, clock, take):
        seen = []

        @app.function(on.queue("jobs"), retry=RETRY)
        async def work(job: Job, ctx: Context) -> None:
            seen.append((ctx.trigger, ctx.attempt, ctx.id))
            raise ValueError("no")

        async with start(app):
            await put(1)
            await clock.settle()
            assert await take(JOBS) == []
            await clock.advance(100)
        assert seen == [("queue", attempt, "job-0") for attempt in (1, 2, 3)]
        (dead,) = await take(dead_letters("app.work"))
        assert (dead.trigger, dead.attempt) == ("queue", 3)

    async def test_how_long_it_lay_in_the_queue_makes_no_message_too_old(
        self, app, start, put, clock, take
    ):
        attempts = []

        @app.function(on.queue("jobs"), retry=RETRY)
        async def work(job: Job, ctx: Context) -> None:
            attempts.append(ctx.attempt)
            raise ValueError("no")

        await put(1, timestamp=0.0)
        async with start(app):
            await clock.advance(100)
        assert attempts == [1, 2, 3]
        (dead,) = await take(dead_letters("app.work"))
        assert dead.headers[REASON] == "all 3 attempts failed"

    async def test_its_age_counts_from_its_first_run(self, app, start, put, clock, take):
        attempts = []

        @app.function(on.queue("jobs"), retry=RETRY)
        async def work(job: Job, ctx: Context) -> None:
            attempts.append(ctx.attempt)
            raise RetryLater(after=600)

        await put(1, timestamp=0.0)
        async with start(app):
            await clock.advance("1h")
        assert attempts == [1, 2]
        (dead,) = await take(dead_letters("app.work"))
        assert dead.headers[REASON] == "older than 1000 s before it succeeded"

    async def test_two_functions_on_one_queue_share_its_messages(self, app, start, put, clock):
        seen = []

        @app.function(on.queue("jobs"), concurrency=1)
        async def one(job: Job) -> None:
            seen.append(job.n)

        @app.function(on.queue("jobs"), concurrency=1)
        async def other(job: Job) -> None:
            seen.append(job.n)

        await put(*range(10))
        async with start(app):
            await clock.settle()
        assert sorted(seen) == list(range(10))

    async def test_the_concurrency_limit_holds_over_all_queues_and_the_inbox(
        self, app, start, put, clock, broker, message
    ):
        running, most = 0, 0

        @app.function(on.queue("jobs"), on.queue("more"), concurrency=2)
        async def work(job: Job) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await sleep(clock, 1)
            running -= 1

        await put(*range(5))
        async with start(app) as host:
            for n in range(5):
                await host.caller.send(work, {"n": n})
                await broker.publish(to_queue(named("more")), message(b'{"n": 1}'))
            await clock.advance(8)
            assert most == 2
            assert host.statistics()["app.work"]["running"] == 0


class TestBatches:
    """Many messages for one run."""

    @pytest.fixture
    def seen(self):
        return []

    async def test_only_the_failed_items_come_back_and_do_so_as_a_batch(
        self, app, start, put, clock, seen, take
    ):
        @app.function(on.queue("jobs", batch=10, batch_window=1), retry=RETRY)
        async def work(jobs: list[Job], ctx: Context) -> None:
            seen.append(([job.n for job in jobs], ctx.attempt, ctx.trigger))
            failed = {index: "odd" for index, job in enumerate(jobs) if job.n % 2}
            if failed:
                raise PartialFailure(failed)

        await put(*range(5))
        async with start(app):
            await clock.advance(100)
        assert seen == [
            ([0, 1, 2, 3, 4], 1, "queue"),
            ([1, 3], 2, "queue"),
            ([1, 3], 3, "queue"),
        ]
        dead = await take(dead_letters("app.work"))
        assert [(one.body, one.attempt) for one in dead] == [(b'{"n": 1}', 3), (b'{"n": 3}', 3)]

    async def test_items_that_do_not_fit_are_dead_lettered_alone_and_at_once(
        self, app, start, put, clock, seen, take
    ):
        @app.function(on.queue("jobs", batch=10), max_payload=20)
        async def work(jobs: list[Job]) -> None:
            seen.append([job.n for job in jobs])

        await put(0, b"no json", 1, b'{"n": "x"}', 2, b'{"n": 1}' + b" " * 20)
        async with start(app):
            await clock.settle()
        assert seen == [[0, 1, 2]]
        dead = await take(dead_letters("app.work"))
        assert sorted(one.headers[ERROR_TYPE] for one in dead) == [
            "payload_invalid",
            "payload_invalid",
            "payload_too_large",
        ]

    @pytest.mark.parametrize("end", [hang, fail])
    async def test_items_that_do_not_fit_are_dead_lettered_however_the_run_ends(
        self, app, start, put, clock, seen, take, end
    ):
        def ending_badly(handler):
            async def run(invocation):
                await handler(invocation)
                await end()

            return run

        app.middleware = (ending_badly,)

        @app.function(on.queue("jobs", batch=10, batch_window=1), retry=RETRY, timeout=5)
        async def work(jobs: list[Job], ctx: Context) -> None:
            seen.append(([job.n for job in jobs], ctx.attempt))

        await put(0, b"no json", 1)
        async with start(app):
            await clock.advance(100)
        assert seen == [([0, 1], 1), ([0, 1], 2), ([0, 1], 3)]
        first, *others = await take(dead_letters("app.work"))
        assert (first.body, first.attempt) == (b"no json", 1)
        assert "Invalid JSON" in first.headers[REASON]
        assert [one.attempt for one in others] == [3, 3]

    async def test_each_item_may_say_what_becomes_of_it(self, app, start, put, clock, seen, take):
        @app.function(on.queue("jobs", batch=10), retry=RETRY)
        async def work(jobs: list[Job]) -> None:
            seen.append((clock.now(), [job.n for job in jobs]))
            if len(jobs) == 4:
                raise PartialFailure({0: RetryLater(after=7), 1: Reject("fake"), 3: "broken"})

        await put(0, 1, 2, 3)
        began = clock.now()
        async with start(app):
            await clock.advance(100)
        assert seen == [(began, [0, 1, 2, 3]), (began + 7, [0]), (began + 10, [3])]
        (dead,) = await take(dead_letters("app.work"))
        assert (dead.body, dead.headers[REASON]) == (b'{"n": 1}', "fake")

    async def test_a_failure_of_the_run_is_one_of_each_item(self, app, start, put, clock, take):
        @app.function(on.queue("jobs", batch=10), retry=RETRY)
        async def work(jobs: list[Job]) -> None:
            raise ValueError("all")

        await put(0, 1)
        async with start(app):
            await clock.advance(100)
        assert [one.attempt for one in await take(dead_letters("app.work"))] == [3, 3]

    async def test_what_was_sent_by_name_runs_alone(self, app, start, put, clock, seen):
        @app.function(on.queue("jobs", batch=10, batch_window=5))
        async def work(jobs: list[Job], ctx: Context) -> None:
            seen.append(([job.n for job in jobs], ctx.trigger))

        async with start(app) as host:
            await put(0, 1)
            await host.caller.send(work, [{"n": 7}, {"n": 8}])
            await clock.advance(5)
        assert sorted(seen) == [([0, 1], "queue"), ([7, 8], "invoke")]

    async def test_an_item_that_is_redriven_is_an_item_again(
        self, app, start, put, clock, seen, take, broker
    ):
        @app.function(on.queue("jobs", batch=10))
        async def work(jobs: list[Job]) -> None:
            seen.append([job.n for job in jobs])
            if len(seen) == 1:
                raise Reject("not yet")

        await put(0)
        async with start(app):
            await clock.settle()
            (dead,) = await take(dead_letters("app.work"))
            await broker.publish(to_function("app.work"), reset_for_redrive(dead, clock.now()))
            await clock.settle()
        assert seen == [[0], [0]]

    async def test_a_stop_hands_the_whole_batch_back(self, app, start, put, clock, seen, broker):
        @app.function(on.queue("jobs", batch=3))
        async def work(jobs: list[Job]) -> None:
            seen.append([job.n for job in jobs])
            await asyncio.Event().wait()

        await put(0, 1, 2, 3)
        async with start(app, grace=0):
            await clock.settle()
        assert seen == [[0, 1, 2], [3]]
        back = [await broker.get(JOBS) for _ in range(4)]
        assert [(one.message.body, one.losses) for one in back] == [
            (b'{"n": %d}' % n, 0) for n in range(4)
        ]

    async def test_a_stop_while_one_is_run_alone_hands_the_others_back(
        self, app, start, clock, seen, broker, message
    ):
        @app.function(on.queue("jobs", batch=10, batch_window=5), concurrency=1)
        async def work(jobs: list[Job]) -> None:
            seen.append([job.n for job in jobs])
            await asyncio.Event().wait()

        item = message(b'{"n": 1}', trigger="queue")
        by_name = message(b'[{"n": 2}]')
        async with start(app, grace=0):
            for one in (item, by_name, item):
                await broker.publish(to_function("app.work"), one)
            await clock.advance(5)
        assert seen == [[2]]
        back = [await broker.get(inbox("app.work")) for _ in range(3)]
        assert [one.losses for one in back] == [0, 0, 0]

    async def test_the_concurrency_limit_counts_batches(self, app, start, put, clock):
        running, most = 0, 0

        @app.function(on.queue("jobs", batch=2), concurrency=2)
        async def work(jobs: list[Job]) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await sleep(clock, 1)
            running -= 1

        await put(*range(12))
        async with start(app):
            await clock.advance(3)
            assert most == 2
            assert running == 0


class TestDeclaring:
    """What cannot work is refused, with advice."""

    @pytest.mark.parametrize(
        ("arguments", "advice"),
        [
            ({"name": ""}, "1 to 255 in all"),
            ({"name": "x" * 256}, "1 to 255 in all"),
            ({"name": "amq.x"}, "choose another name"),
            ({"name": "em.inbox.a.b"}, "choose another name"),
            ({"name": 3}, "write the queue's name"),
            ({"name": "a", "batch": 0}, "1 to 10,000"),
            ({"name": "a", "batch": 10_001}, "1 to 10,000"),
            ({"name": "a", "batch": "many"}, "1 to 10,000"),
            ({"name": "a", "batch_window": 1}, "without batch"),
            ({"name": "a", "batch": 2, "batch_window": "soon"}, "batch_window"),
        ],
    )
    def test_a_trigger_that_cannot_be(self, arguments, advice):
        name = arguments.pop("name")
        with pytest.raises(DeclarationError, match=advice):
            on.queue(name, **arguments)

    def test_a_batch_needs_a_list(self, app):
        with pytest.raises(DeclarationError, match="a batch is a list"):

            @app.function(on.queue("jobs", batch=10))
            async def work(job: Job) -> None: ...

    def test_a_batch_is_returned_from_not_yielded(self, app):
        with pytest.raises(DeclarationError, match="return instead"):

            @app.function(on.queue("jobs", batch=10))
            async def work(jobs: list[Job]):
                yield 1

    def test_one_queue_stands_once(self, app):
        with pytest.raises(DeclarationError, match=r"on.queue\('jobs'\) is listed twice"):

            @app.function(on.queue("jobs", batch=10), on.queue("jobs", batch=5))
            async def work(jobs: list[Job]) -> None: ...

    def test_batches_and_single_messages_do_not_mix(self, app):
        with pytest.raises(DeclarationError, match="single messages and another batches"):

            @app.function(on.queue("jobs", batch=10), on.queue("others"))
            async def work(jobs: list[Job]) -> None: ...

    def test_what_is_shown_of_it(self):
        assert on.queue("jobs").describe() == "queue jobs"
        assert on.queue("jobs", batch=5).describe() == "queue jobs (batches of 5)"
