"""Requests with one idempotency key run once, over all replicas that share a store."""

import asyncio
import sys
import time
from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientError, ClientSession
from postgres_server.server import query
from pydantic import BaseModel
from sqlalchemy import text

from eventmesh import Context, PayloadInvalid, Problem, Response, Service, on
from eventmesh.auth import Authorizer, Identity
from eventmesh.engine.idempotency import dump_answer
from eventmesh.model.errors import SettingsError
from eventmesh.model.result import Result
from eventmesh.store import claims as store_claims

pytestmark = pytest.mark.usefixtures("patient_stores")

KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


class Order(BaseModel):
    id: str = ""
    total: int = 1


class Runs:
    """How often handlers have run; each waits until it may go on."""

    def __init__(self):
        self.count = 0
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def run(self):
        self.count += 1
        self.begun.set()
        await self.go_on.wait()
        return self.count


@pytest.fixture
def runs():
    return Runs()


def build_service(runs, **options):
    service = Service("orders", **options)

    @service.function(on.post("/orders", idempotent=True, status=201))
    async def place(order: Order) -> Response:
        return Response({"run": await runs.run()}, 201, {"X-Total": str(order.total)})

    @service.function(on.post("/payments", idempotent="required"))
    async def pay(order: Order) -> int:
        if order.total < 0:
            raise Problem(409, "nothing to pay", left=await runs.run())
        if order.total == 0:
            raise ValueError(await runs.run())
        return await runs.run()

    @service.function(idempotency_key="id")
    async def import_order(order: Order) -> int:
        return await runs.run()

    return service


@pytest.fixture
async def replicas(serving, runs, store_url):
    """Two replicas of a service on one store."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(serving(build_service(runs), store=store_url))
            for _ in range(2)
        ]


async def post(served, path, json, headers=KEY):
    async with served.http.post(path, json=json, headers=headers) as response:
        return response.status, await response.json(), dict(response.headers)


async def give_to_another_process(url, answer=None):
    """Have another process run all requests, or have given that answer to them."""
    lease = 0 if answer else time.time() + 3600
    await query(
        url,
        "UPDATE eventmesh_claims SET number = 'other', owner = 'other', lease = $1, answer = $2",
        lease,
        answer,
    )


async def test_gives_the_answer_again_at_any_replica(replicas, runs):
    first = await post(replicas[0], "/orders", {"total": 7})
    second = await post(replicas[1], "/orders", {"total": 7})

    assert runs.count == 1
    assert first[:2] == second[:2] == (201, {"run": 1})
    assert second[2]["X-Total"] == "7"
    assert "Idempotent-Replayed" not in first[2]
    assert second[2]["Idempotent-Replayed"] == "true"


async def test_two_at_once_run_once(replicas, runs, tasks, soon):
    runs.go_on.clear()
    first = tasks.create_task(post(replicas[0], "/orders", {}))
    await soon(runs.begun.wait())
    others = [tasks.create_task(post(replica, "/orders", {})) for replica in replicas * 3]
    await asyncio.sleep(0.2)  # Long enough for a fault to show: they would have run.
    runs.go_on.set()

    answers = [await soon(task) for task in (first, *others)]
    assert runs.count == 1
    assert {answer[:2] == (201, {"run": 1}) for answer in answers} == {True}


async def test_many_at_once_without_a_first_run_once(replicas, runs, soon):
    requests = [post(replica, "/orders", {}) for replica in replicas * 10]
    answers = await soon(asyncio.gather(*requests))
    assert runs.count == 1
    assert {answer[0] for answer in answers} == {201}


async def test_another_payload_under_the_same_key_is_refused(replicas, runs):
    await post(replicas[0], "/orders", {"total": 1})
    status, problem, headers = await post(replicas[1], "/orders", {"total": 2})

    assert (status, runs.count) == (422, 1)
    assert headers["Content-Type"] == "application/problem+json"
    assert problem["title"] == "Idempotency-Key is already used"


async def test_another_key_and_none_are_run(replicas, runs):
    await post(replicas[0], "/orders", {})
    await post(replicas[0], "/orders", {}, {"Idempotency-Key": "another"})
    await post(replicas[0], "/orders", {}, {})
    await post(replicas[0], "/orders", {}, {})
    assert runs.count == 4


async def test_a_route_may_require_a_key(replicas, runs):
    status, problem, _ = await post(replicas[0], "/payments", {}, {})
    assert (status, runs.count) == (400, 0)
    assert problem["title"] == "Idempotency-Key is missing"
    assert (await post(replicas[0], "/payments", {}))[0] == 200


async def test_a_problem_is_an_answer_and_a_failure_is_none(replicas, runs):
    for replica in replicas:
        status, problem, _ = await post(replica, "/payments", {"total": -1})
        assert (status, problem["detail"], problem["left"]) == (409, "nothing to pay", 1)
    for replica in replicas:
        other = {"Idempotency-Key": "fails"}
        assert (await post(replica, "/payments", {"total": 0}, other))[0] == 500
    assert runs.count == 3


async def test_waits_no_longer_than_the_timeout_of_the_function(serving, runs, postgres_url):
    service = Service("orders")

    @service.function(on.post("/orders", idempotent=True), timeout=2)
    async def place() -> int:
        return 1

    async with serving(service, store=postgres_url) as served:
        assert (await post(served, "/orders", None))[0] == 200
        await give_to_another_process(postgres_url)
        status, problem, headers = await post(served, "/orders", None)

    assert (status, headers["Retry-After"]) == (409, "1")
    assert problem["title"] == "A request is outstanding for this Idempotency-Key"


async def test_a_stranger_gets_nothing_of_anothers_answer(serving, runs, store_url):
    async def verify(request):
        return Identity(f"user:{request.headers['X-User']}")

    service = build_service(runs, auth=Authorizer(verify))
    async with serving(service, store=store_url) as served:
        answers = [
            await post(served, "/orders", {}, {**KEY, "X-User": name})
            for name in ("ada", "eve", "ada")
        ]
    assert [answer[1]["run"] for answer in answers] == [1, 2, 1]


async def test_a_field_of_the_payload_is_a_key_for_every_caller(replicas, runs):
    first, second = [replica.host.caller for replica in replicas]
    name = "orders.import_order"
    assert await first.invoke(name, {"id": "7"}) == 1
    assert await second.invoke(name, {"id": "7"}) == 1
    assert await second.invoke(name, {"id": "8"}) == 2
    with pytest.raises(PayloadInvalid, match="another payload"):
        await first.invoke(name, {"id": "7", "total": 2})


REPLICA = """
import asyncio
from eventmesh import Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

service = Service("orders")

@service.function(on.post("/orders", idempotent=True))
async def place() -> int:
    print("begun", flush=True)
    await asyncio.Event().wait()

async def main():
    async with MemoryBroker() as broker:
        settings = Settings(http_port=0, store={url!r})
        async with host_services([service], broker, settings) as host:
            print(host.addresses["http"], flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_process_left_unfinished_when_it_died_is_run_again(
    serving, postgres_url, tasks, soon
):
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", REPLICA.format(url=postgres_url), stdout=asyncio.subprocess.PIPE
    )
    service = Service("orders")

    @service.function(on.post("/orders", idempotent=True), timeout=2)
    async def place() -> int:
        return 2

    try:
        address = (await soon(other.stdout.readline())).decode().strip()
        async with ClientSession(address) as http, serving(service, store=postgres_url) as served:

            async def ask():
                with pytest.raises(ClientError):
                    await http.post("/orders", headers=KEY)

            asking = tasks.create_task(ask())
            assert await soon(other.stdout.readline()) == b"begun\n"
            other.kill()
            await soon(asking)
            # Until its lease is over nobody knows that it has died.
            assert (await post(served, "/orders", None))[0] == 409
            await query(postgres_url, "UPDATE eventmesh_claims SET lease = 0")
            assert (await post(served, "/orders", None))[:2] == (200, 2)
            assert (await post(served, "/orders", None))[2]["Idempotent-Replayed"] == "true"
    finally:
        if other.returncode is None:
            other.kill()
        await other.wait()


def build_paying(runs):
    service = Service("orders")

    @service.function(on.post("/payments", idempotent=True))
    async def pay(order: Order, ctx: Context) -> int:
        async with ctx.transaction() as session:
            await session.execute(text("INSERT INTO payments VALUES (:id)"), {"id": order.id})
            await ctx.send("orders.booked", order)
        run = await runs.run()
        if order.total == 0:
            raise ValueError("the run fails after its transaction")
        if order.total < 0:
            raise Problem(409, "nothing to pay")
        return run

    @service.function
    async def booked(order: Order) -> None:
        runs.booked.append(order.id)

    return service


@pytest.fixture
async def paying(serving, runs, postgres_url):
    await query(postgres_url, "CREATE TABLE payments (id text)")
    runs.booked = []
    async with serving(build_paying(runs), store=postgres_url) as served:
        yield served


async def test_effects_and_messages_are_committed_with_the_answer(
    paying, runs, postgres_url, until
):
    for _ in range(2):
        assert (await post(paying, "/payments", {"id": "7"}))[:2] == (200, 1)
    await until(lambda: runs.booked)

    assert await query(postgres_url, "SELECT id FROM payments") == [("7",)]
    assert runs.booked == ["7"]
    assert await query(postgres_url, "SELECT id FROM eventmesh_outbox") == []


@pytest.mark.parametrize(("total", "status", "runs_of_two"), [(0, 500, 2), (-1, 409, 1)])
async def test_a_run_that_fails_after_its_transaction_has_changed_nothing(
    paying, runs, postgres_url, total, status, runs_of_two
):
    for _ in range(2):
        assert (await post(paying, "/payments", {"id": "7", "total": total}))[0] == status
    assert runs.count == runs_of_two
    assert await query(postgres_url, "SELECT id FROM payments") == []
    assert await query(postgres_url, "SELECT id FROM eventmesh_outbox") == []


async def test_a_run_that_seemed_dead_changes_nothing(paying, runs, postgres_url, tasks, soon):
    runs.go_on.clear()
    asking = tasks.create_task(post(paying, "/payments", {"id": "7"}))
    await soon(runs.begun.wait())
    answer = dump_answer(Result(b"99", status=200))
    await give_to_another_process(postgres_url, answer)
    runs.go_on.set()

    assert (await soon(asking))[:2] == (200, 99)
    assert await query(postgres_url, "SELECT id FROM payments") == []


async def test_a_commit_that_fails_is_a_failure_and_is_run_again(paying, runs, postgres_url):
    await query(
        postgres_url,
        "ALTER TABLE payments ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED",
    )
    await query(postgres_url, "INSERT INTO payments VALUES ('7')")
    assert (await post(paying, "/payments", {"id": "7"}))[0] == 500
    await query(postgres_url, "DELETE FROM payments")
    assert (await post(paying, "/payments", {"id": "7"}))[:2] == (200, 2)
    assert await query(postgres_url, "SELECT id FROM payments") == [("7",)]


@pytest.mark.disruptive
async def test_a_store_that_is_away_runs_nothing(paying, runs, postgres):
    await postgres.stop()
    status, _, headers = await post(paying, "/payments", {"id": "7"})
    assert (status, headers["Retry-After"], runs.count) == (503, "1", 0)

    await postgres.start()
    assert (await post(paying, "/payments", {"id": "7"}))[:2] == (200, 1)


async def test_old_answers_are_dropped(serving, runs, postgres_url, manual_clock, soon):
    async with serving(
        build_service(runs), store=postgres_url, store_keep=0.001, clock=manual_clock
    ) as served:
        await post(served, "/orders", {})
        assert (await post(served, "/orders", {}))[1] == {"run": 2}
        await query(postgres_url, "UPDATE eventmesh_claims SET lease = 0")

        # A row that is being written while others are dropped is dropped the next time.
        async def dropped():
            while await query(postgres_url, "SELECT scope FROM eventmesh_claims"):
                await manual_clock.advance(store_claims.DROP_SECONDS)

        await soon(dropped())


async def test_needs_a_store(serving, runs):
    with pytest.raises(SettingsError, match=r"orders\.place .* needs a store"):
        async with serving(build_service(runs)):
            raise AssertionError
