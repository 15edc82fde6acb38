"""With a store, what became of asynchronous invocations is known, and they can be cancelled."""

import asyncio

import pytest
from postgres_server.server import query
from pydantic import BaseModel
from waiting import DEADLINE, PAUSE

from eventmesh import (
    Client,
    DeclarationError,
    FunctionError,
    FunctionNotFound,
    Retry,
    Service,
    on,
)
from eventmesh.store import results as store_results

pytestmark = pytest.mark.usefixtures("patient_stores")

NAME = "orders.place"


class Order(BaseModel):
    total: int = 1


class Runs:
    """What a handler does: it fails so often, and waits until it may go on."""

    def __init__(self):
        self.count = 0
        self.failures = 0
        self.cancelled = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def run(self):
        self.count += 1
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.count <= self.failures:
            raise ValueError("no stock")


@pytest.fixture
def runs():
    return Runs()


def build_service(
    runs,
    retry=Retry(attempts=2, initial=0.1, jitter="none"),  # noqa: B008
    concurrency=10,
):
    service = Service("orders")

    @service.function(
        on.post("/orders", mode="async"),
        on.event("order.made"),
        retry=retry,
        concurrency=concurrency,
    )
    async def place(order: Order) -> dict[str, int]:
        await runs.run()
        return {"total": order.total}

    @service.function(on.event("order.made"))
    async def note(order: Order) -> str:
        return "x" * order.total

    @service.function(on.queue("orders", batch=2))
    async def batch(orders: list[Order]) -> None: ...

    return service


@pytest.fixture
async def served(serving, runs, store_url):
    async with serving(build_service(runs), store=store_url) as served:
        yield served


@pytest.fixture
async def client(served):
    async with Client(served.url) as client:
        yield client


@pytest.fixture
def state(client, soon):
    """Wait until an invocation is in a state, and return what is known of it then."""

    async def wait(id, *states, function=NAME):
        while True:
            found = await client.result(id, function)
            if found is not None and found.state in states:
                return found
            await asyncio.sleep(0.01)

    return lambda id, *states, **options: soon(wait(id, *states, **options))


async def post(served):
    async with served.http.post("/orders", json={"total": 7}) as response:
        assert response.status == 202
        return (await response.json())["id"], response.headers["Location"]


async def show(served, location):
    async with served.http.get(location) as response:
        return response.status, await response.json()


async def test_the_location_of_a_202_tells_the_result(served, runs, state, soon):
    runs.go_on.clear()
    id, location = await post(served)
    await soon(runs.begun.wait())
    status, shown = await show(served, location)
    assert (status, shown["state"], shown["attempt"]) == (200, "running", 1)
    assert "result" not in shown

    runs.go_on.set()
    await state(id, "succeeded")
    status, shown = await show(served, location)
    assert (status, shown["state"], shown["result"]) == (200, "succeeded", {"total": 7})
    assert shown["created"] <= shown["updated"]


async def test_what_was_accepted_waits(served, runs, client):
    # All permits are taken, so it waits in the inbox.
    runs.go_on.clear()
    ids = [(await post(served))[0] for _ in range(101)]
    states = {(await client.result(id, NAME)).state for id in ids}
    assert states <= {"waiting", "running"}
    assert (await client.result(ids[-1], NAME)).state == "waiting"
    assert (await client.result(ids[-1], NAME)).attempt == 0
    runs.go_on.set()


async def test_a_failure_is_retried_and_told(client, runs, state):
    runs.failures = 3
    id = await client.send(NAME, {"total": 1})
    failed = await state(id, "failed")

    assert (runs.count, failed.attempt) == (2, 2)
    with pytest.raises(FunctionError, match="no stock"):
        _ = failed.value
    assert "Traceback" not in str(failed.error)

    await client.dead_letters.redrive(NAME)
    assert (await state(id, "failed", "succeeded")).state in {"failed", "succeeded"}


async def test_a_retry_that_waits_is_told_and_cancelled(
    serving, runs, store_url, manual_clock, soon
):
    retry = Retry(attempts=2, initial=60, jitter="none")
    runs.failures = 1
    async with (
        serving(build_service(runs, retry), store=store_url, clock=manual_clock) as served,
        Client(served.url) as client,
    ):

        async def wait(id, state):
            while (found := await client.result(id, NAME)) is None or found.state != state:
                await asyncio.sleep(PAUSE)
            return found

        id = await client.send(NAME, {"total": 1})
        assert str((await soon(wait(id, "retrying"))).error) == "ValueError: no stock"
        assert (await client.cancel(id)).state == "cancelled"
        await manual_clock.advance(60)
        # It came before this one.
        await soon(wait(await client.send(NAME, {"total": 2}), "succeeded"))
        assert (await client.result(id, NAME)).state == "cancelled"
    assert runs.count == 2


async def test_what_is_not_known_is_not_accepted(served, client):
    assert await client.result("unknown", NAME) is None
    assert await client.result("unknown") is None
    assert await client.cancel("unknown") is None
    status, problem = await show(served, f"/_eventmesh/functions/{NAME}/invocations/unknown")
    assert (status, problem["status"]) == (404, 404)


async def test_an_event_has_a_result_for_each_subscriber(client, state):
    id = await client.emit("order.made", {"total": 3})
    await state(id, "succeeded")
    noted = await state(id, "succeeded", function="orders.note")
    assert noted.value == "xxx"
    with pytest.raises(DeclarationError, match=r"orders\.note, orders\.place"):
        await client.result(id)


async def test_a_result_that_is_too_large_is_told_as_that(client, state):
    id = await client.emit("order.made", {"total": store_results.MAX_RESULT})
    found = await state(id, "succeeded", function="orders.note")
    assert (found.too_large, found.body) == (True, b"")


async def test_batches_are_not_remembered(client):
    for ask in (client.result, client.cancel):
        with pytest.raises(FunctionNotFound, match="takes batches"):
            await ask("1", "orders.batch")


async def test_what_waits_is_cancelled_before_it_runs(serving, runs, store_url, soon):
    async with (
        serving(build_service(runs, concurrency=1), store=store_url) as served,
        Client(served.url) as client,
    ):
        runs.go_on.clear()
        await client.send(NAME, {})
        await soon(runs.begun.wait())
        id = await client.send(NAME, {})
        cancelled = await client.cancel(id, NAME)
        assert (cancelled.state, cancelled.ended) == ("cancelled", True)

        runs.go_on.set()
        last = await client.send(NAME, {})
        async with asyncio.timeout(DEADLINE):
            while not (found := await client.result(last, NAME)) or found.state != "succeeded":
                await asyncio.sleep(PAUSE)
        assert runs.count == 2
        assert (await client.result(id)).state == "cancelled"


async def test_what_runs_is_cancelled(client, runs, state, soon):
    runs.go_on.clear()
    id = await client.send(NAME, {})
    await soon(runs.begun.wait())
    told = await client.cancel(id)
    assert told.state in {"running", "cancelled"}

    await state(id, "cancelled")
    assert (runs.count, runs.cancelled) == (1, 1)
    assert await client.dead_letters.list(NAME) == []


async def test_what_runs_in_another_process_is_cancelled(serving, runs, store_url, soon):
    async with (
        serving(build_service(runs), store=store_url) as one,
        serving(build_service(runs), store=store_url) as other,
        Client(one.url) as client,
        Client(other.url) as its_client,
    ):
        runs.go_on.clear()
        id = await client.send(NAME, {})
        await soon(runs.begun.wait())
        assert (await its_client.cancel(id, NAME)).cancelling

        async def cancelled():
            while (await client.result(id, NAME)).state != "cancelled":
                await asyncio.sleep(0.01)

        await soon(cancelled())
    assert runs.cancelled == 1


async def test_what_has_ended_stays_as_it_is(client, runs, state):
    id = await client.send(NAME, {"total": 7})
    await state(id, "succeeded")
    assert (await client.cancel(id, NAME)).state == "succeeded"
    assert (await client.result(id)).value == {"total": 7}


async def test_without_a_store_nothing_is_remembered(serving, runs):
    async with serving(build_service(runs)) as served, Client(served.url) as client:
        id, location = await post(served)
        assert (await show(served, location))[1]["state"] == "unknown"
        assert await client.result(id) is None
        for ask in (client.result, client.cancel):
            with pytest.raises(FunctionNotFound, match="has no store"):
                await ask(id, NAME)


async def test_many_at_once_are_written_in_few_transactions(client, state, runs, postgres_url):
    ids = await asyncio.gather(*(client.send(NAME, {"total": n}) for n in range(200)))
    for id in ids:
        await state(id, "succeeded")
    found = await asyncio.gather(*(client.result(id, NAME) for id in ids))
    assert [result.value for result in found] == [{"total": n} for n in range(200)]


@pytest.mark.disruptive
async def test_work_goes_on_while_the_store_is_away(
    serving, runs, postgres, postgres_url, soon, until
):
    async with (
        serving(build_service(runs), store=postgres_url) as served,
        Client(served.url) as client,
    ):
        await postgres.stop()
        ids = [await client.send(NAME, {"total": n}) for n in range(3)]
        await until(lambda: runs.count == 3)
        await postgres.start()

        async def written():
            rows = []
            while len(rows) < 3:
                rows = await query(
                    postgres_url,
                    "SELECT id FROM eventmesh_results WHERE state = 'succeeded'",
                )
            return {row[0] for row in rows}

        assert await soon(written()) == set(ids)


async def test_old_results_are_dropped(serving, runs, postgres_url, manual_clock, soon):
    async with (
        serving(
            build_service(runs), store=postgres_url, store_keep=10.0, clock=manual_clock
        ) as served,
        Client(served.url) as client,
    ):
        id = await client.send(NAME, {})

        async def known():
            return await client.result(id, NAME)

        async def gone():
            while (found := await known()) is None or found.state != "succeeded":
                await asyncio.sleep(PAUSE)
            while await known() is not None:
                await manual_clock.advance(store_results.DROP_SECONDS)

        await soon(gone())
