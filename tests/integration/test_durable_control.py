"""Executions are read, controlled and completed over HTTP and over the broker."""

import asyncio
import logging

import pytest

from eventmesh import Client, DurableContext, FunctionNotFound, Service
from eventmesh.aio.clock import SystemClock
from eventmesh.client.client import MeshExecutions
from eventmesh.client.http_executions import HttpExecutions
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.engine.executions import access

APPROVE = "shop.approve"


@pytest.fixture
def ids():
    return []


@pytest.fixture
async def served(serving, ids, tmp_path):
    shop, bank = Service("shop"), Service("bank")

    @shop.function(durable=True)
    async def approve(order: str, ctx: DurableContext) -> str:
        await ctx.step(str, "x" * (2 * access.MAX_SHOWN), name="long")
        callback = await ctx.callback("approval", returns=str, heartbeat="1h")
        await ctx.step(ids.append, callback.id, name="ask")
        return f"{order} {await callback.result()}"

    @bank.function(durable=True)
    async def pay(ctx: DurableContext) -> None:
        await ctx.wait("1d")

    @bank.function
    async def plain() -> None: ...

    store = f"sqlite:///{tmp_path}/store.db"
    async with serving(shop, bank, store=store) as served:
        yield served


@pytest.fixture(params=["http", "broker"])
async def executions(request, served):
    async with Client(served.url) as client:
        if request.param == "http":
            assert isinstance(client.executions, HttpExecutions)
            yield client.executions
        else:

            async def functions():
                return list(served.host.functions)

            yield MeshExecutions(served.broker, SystemClock(), functions)


@pytest.fixture
def status(executions, soon):
    """Wait until an execution has a status, and is not about to do something."""

    async def wait(id, wanted):
        while True:
            try:
                told = await executions.show(id)
            except FunctionNotFound:
                told = None
            if told and told.status == wanted and not told.running and not told.requested:
                return told
            await asyncio.sleep(0.01)

    return lambda id, wanted: soon(wait(id, wanted))


async def test_a_callback_is_completed_by_a_client_over_http(served, status, ids, caplog):
    caplog.set_level(logging.INFO)
    async with Client(served.url) as client:
        id = await client.send(APPROVE, {"order": "7"})
        waiting = await status(id, "RUNNING")
        assert [(each.type, each.name) for each in waiting.open] == [("CALLBACK", "approval")]
        assert waiting.result is None
        await client.heartbeat(ids[0])
        await client.complete(ids[0], "approved")
        ended = await status(id, "SUCCEEDED")
        assert (ended.function, ended.result) == (APPROVE, '"7 approved"')
        with pytest.raises(FunctionNotFound, match="no callback of that id"):
            await client.complete("bm9uZQ==", 1)
    noted = [each for each in caplog.records if each.name == "eventmesh.audit"]
    assert "complete a callback" in {each.action for each in noted}
    assert ids[0] not in caplog.text


async def test_a_callback_fails_over_http(served, status, ids):
    async with Client(served.url) as client:
        id = await client.send(APPROVE, {"order": "7"})
        await status(id, "RUNNING")
        body = {"callback": ids[0], "error": {"ErrorType": "Refused", "ErrorMessage": "no"}}
        async with served.http.post("/_eventmesh/callbacks", json=body) as response:
            assert response.status == 202
        ended = await status(id, "FAILED")
        assert ended.error.message == "Refused: no"


async def test_a_body_that_cannot_be_read_is_refused_and_not_quoted(served):
    async with served.http.post("/_eventmesh/callbacks", json={"callbak": "secret"}) as response:
        assert response.status == 422
        assert "secret" not in await response.text()
    async with served.http.post("/_eventmesh/executions/7/pause", data="no") as response:
        assert response.status == 422
    async with served.http.get("/_eventmesh/executions?status=asleep") as response:
        assert response.status == 422
    async with served.http.get("/_eventmesh/executions?limit=many") as response:
        assert response.status == 422
    async with served.http.get("/_eventmesh/executions?after=no") as response:
        assert response.status == 422


async def test_executions_of_all_services_are_listed_in_pages(served, executions, status):
    async with Client(served.url) as client:
        sent = [await client.send(name, {"order": "7"}) for name in [APPROVE, "bank.pay"] * 3]
        for id in sent:
            await status(id, "RUNNING")
    listed, after = [], ""
    while True:
        page, after = await executions.list(page=Page(2, after))
        listed += page
        if not after:
            break
    assert [each.started for each in listed] == sorted(
        (each.started for each in listed), reverse=True
    )
    assert {each.id for each in listed} == set(sent)
    assert len(listed) == len(sent)
    own, _ = await executions.list(ExecutionFilter(function="bank.pay", newest_first=False))
    assert [each.function for each in own] == ["bank.pay"] * 3
    assert await executions.list(ExecutionFilter(statuses=("FAILED", "STOPPED"))) == ([], "")
    assert await executions.list(ExecutionFilter(started_after=2.0**40)) == ([], "")


async def test_a_history_has_no_secret_and_is_cut(served, executions, status, ids):
    async with Client(served.url) as client:
        id = await client.send(APPROVE, {"order": "7"})
    await status(id, "RUNNING")
    events, after = await executions.history(id, function=APPROVE)
    assert after == ""
    assert [each.type for each in events][:2] == ["ExecutionStarted", "StepStarted"]
    opened = next(each for each in events if each.type == "CallbackStarted")
    assert (opened.name, "CallbackId" in opened.details) == ("approval", False)
    long = next(each for each in events if each.type == "StepSucceeded")
    assert long.details["Result"]["Truncated"]
    assert len(long.details["Result"]["Payload"]) == access.MAX_SHOWN
    assert not any(ids[0] in repr(each.details) for each in events if each.name != "ask")
    first, after = await executions.history(id, Page(1), newest_first=True)
    assert (first[0].id, after) == (len(events), str(len(events)))


async def test_an_execution_is_paused_resumed_and_stopped(served, executions, status):
    async with Client(served.url) as client:
        id = await client.send("bank.pay")
    await status(id, "RUNNING")
    paused = await executions.pause(id, "later", hold_timeout=True)
    assert (paused.status, paused.pause_reason) == ("PAUSED", "later")
    assert (await executions.resume(id, function="bank.plain")).status == "RUNNING"
    stopped = await executions.stop(id, "enough")
    assert (stopped.status, stopped.error.message) == ("STOPPED", "enough")
    # What has ended stays as it is.
    assert (await executions.stop(id, "again")).error.message == "enough"
    assert (await executions.pause(id)).status == "STOPPED"


async def test_what_is_not_known_is_told(executions):
    for call in (executions.show, executions.history, executions.stop, executions.resume):
        with pytest.raises(FunctionNotFound, match="execution no"):
            await call("no")
    with pytest.raises(FunctionNotFound):
        await executions.show("no", function=APPROVE)
