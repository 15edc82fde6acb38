"""Requests that are refused, or that run too long, and the trace that goes on."""

import asyncio
import json

from eventmesh import BrokerUnavailable, Context, Service, on

SECRET = "hunter2"


async def problem(answer):
    """The problem that an answer is."""
    assert answer.content_type == "application/problem+json"
    document = json.loads(await answer.read())
    assert document["status"] == answer.status
    return document


async def test_over_the_limit_is_429(serving):
    service = Service("s")
    begun, end = asyncio.Event(), asyncio.Event()

    @service.function(on.get("/"), concurrency=1, max_pending=0)
    async def busy() -> None:
        begun.set()
        await end.wait()

    async with serving(service) as served, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(served.http.get("/"))
        await begun.wait()
        async with served.http.get("/") as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1
            await problem(answer)
        end.set()
        assert (await first).status == 200


async def test_out_of_time_is_504_and_cancels_the_handler(serving):
    service = Service("s")
    cancelled = asyncio.Event()

    @service.function(on.get("/"), timeout="10ms")
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(service) as served:
        async with served.http.get("/") as answer:
            assert answer.status == 504
            await problem(answer)
        assert cancelled.is_set()


async def test_a_broker_that_is_away_is_503(serving):
    service = Service("s")

    @service.function(on.post("/", mode="async"))
    async def work() -> None: ...

    async with serving(service) as served:

        async def away(*_, **__):
            raise BrokerUnavailable(SECRET)

        served.broker.publish = away
        async with served.http.post("/") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert SECRET not in str(await problem(answer))


async def test_the_callers_trace_goes_on_and_its_id_is_not_trusted(serving):
    service = Service("s")
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    @service.function(on.get("/"))
    async def show(ctx: Context) -> dict[str, object]:
        return {"headers": dict(ctx.invocation.headers), "id": ctx.id}

    async with serving(service) as served:
        given = {"traceparent": trace, "x-eventmesh-invocation-id": "mine"}
        async with served.http.get("/", headers=given) as answer:
            shown = await answer.json()
            assert shown["headers"]["traceparent"][:35] == trace[:35]
            assert shown["id"] == answer.headers["x-eventmesh-invocation-id"] != "mine"
