"""What makes an execution go on from outside: callbacks, and who may."""

import pytest

from eventmesh import (
    Context,
    DurableContext,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    Service,
    on,
)
from eventmesh.durable.completion import ANSWER, CALL, DURABLE, TURN, WAKE
from eventmesh.executions.native import NativeTurns
from eventmesh.model.message import Message
from eventmesh.model.topology import parse_destination
from eventmesh.testing import TestMesh


async def test_a_callback_is_completed_by_whoever_has_its_id(shop: Service) -> None:
    ids: list[str] = []
    answers: list[object] = []

    @shop.function(durable=True)
    async def approve(ctx: DurableContext) -> None:
        callback = await ctx.callback("approval", returns=set[int], heartbeat="1h")
        await ctx.step(ids.append, callback.id, name="ask")
        answers.append(await callback.result())

    async with TestMesh(shop) as mesh:
        await mesh.send(approve)
        await mesh.settle()
        (id,) = ids
        await mesh.advance("59m")
        await mesh.heartbeat(id)
        await mesh.advance("59m")
        assert answers == []
        await mesh.complete(id, [7, 8])
        await mesh.complete(id, [9])
        await mesh.settle()
    assert answers == [{7, 8}]


async def test_a_callback_is_completed_with_an_error(shop: Service) -> None:
    ids: list[str] = []
    answers: list[str] = []

    @shop.function(durable=True)
    async def approve(ctx: DurableContext) -> None:
        callback = await ctx.callback("approval")
        await ctx.step(ids.append, callback.id, name="ask")
        try:
            await callback.result()
        except FunctionError as error:
            answers.append(str(error))

    async with TestMesh(shop) as mesh:
        await mesh.send(approve)
        await mesh.settle()
        await mesh.complete(ids[0], error="not approved")
        await mesh.settle()
    assert answers == ["Error: not approved"]


async def test_who_has_the_id_completes_what_others_may_not_call(shop: Service) -> None:
    ids: list[str] = []
    answers: list[int] = []

    @shop.function(durable=True, access="private", callers=["shop.ask"])
    async def approve(ctx: DurableContext) -> None:
        callback = await ctx.callback(returns=int)
        await ctx.step(ids.append, callback.id, name="ask")
        await ctx.wait(1)
        answers.append(await callback.result())

    @shop.function
    async def ask(ctx: Context) -> None:
        await ctx.send(approve)

    async with TestMesh(shop) as mesh:
        await mesh.send(ask)
        await mesh.settle()
        await mesh.complete(ids[0], 7)
        await mesh.advance(1)
    assert answers == [7]


async def test_an_id_that_is_none_completes_nothing(shop: Service) -> None:
    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionNotFound, match="no callback of that id"):
            await mesh.complete("no")


async def test_somebody_else_makes_no_execution_go_on(shop: Service) -> None:
    done: list[str] = []

    @shop.function(durable=True)
    async def wait(ctx: DurableContext) -> None:
        await ctx.wait("1d")
        done.append("early")

    id = "e1" * 16
    body = b'{"execution": "%b", "turn": 1}' % id.encode()
    async with TestMesh(shop, allow_failures=True) as mesh:
        await mesh.send(wait, id=id)
        await mesh.settle()
        for type in (TURN, WAKE, CALL, ANSWER):
            forged = Message(
                body, type, mesh.clock.now(), trigger=DURABLE, type=type, caller="evil.function"
            )
            await mesh.broker.publish(parse_destination(wait.full_name), forged)
        await mesh.settle()
        refused = [letter.error_message or letter.reason for letter in mesh.dead_letters]
    assert done == []
    assert len(refused) == 4
    assert all("evil.function may not" in message for message in refused), refused


async def test_two_functions_begin_an_execution_each_of_one_id(shop: Service) -> None:
    begun: list[str] = []

    @shop.function(on.event("order.placed"), durable=True)
    async def ship(ctx: DurableContext) -> None:
        await ctx.step(begun.append, "ship", name="note")

    @shop.function(on.event("order.placed"), durable=True)
    async def bill(ctx: DurableContext) -> None:
        await ctx.step(begun.append, "bill", name="note")

    async with TestMesh(shop) as mesh:
        await mesh.emit("order.placed", id="7")
        await mesh.settle()
        for function in (ship, bill):
            await mesh.send(function, id="order-7")
        await mesh.settle()
    assert sorted(begun) == ["bill", "bill", "ship", "ship"]


async def test_a_callback_times_out(shop: Service) -> None:
    errors: list[str] = []

    @shop.function(durable=True)
    async def approve(ctx: DurableContext) -> None:
        callback = await ctx.callback("approval", timeout="1d")
        try:
            await callback.result()
        except InvocationTimeout as error:
            errors.append(str(error))

    async with TestMesh(shop) as mesh:
        await mesh.send(approve)
        await mesh.advance("1d")
    assert errors == ["approval: the callback was not completed within its timeout"]


async def test_a_first_turn_that_nobody_stored_is_run_again_if_its_process_dies(
    shop: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    run = NativeTurns.run

    @shop.function(durable=True, timeout=20)
    async def work(ctx: DurableContext) -> None:
        await ctx.step(done.append, 1, name="work")

    async def die(*_: object) -> None:
        monkeypatch.setattr(NativeTurns, "run", run)
        raise FunctionError("Killed", "as if its process had ended, and recorded nothing")

    monkeypatch.setattr(NativeTurns, "run", die)
    async with TestMesh(shop) as mesh:
        with pytest.raises(FunctionError, match="as if"):
            await mesh.invoke(work)
        await mesh.advance("24s")
        assert done == []
        await mesh.advance("2s")
    assert done == [1]
