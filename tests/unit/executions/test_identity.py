"""An execution acts as what began it, in every turn, and whoever lets it go on changes nothing."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from eventmesh import AccessDenied, Context, DurableContext, Service, on
from eventmesh.auth import Identity
from eventmesh.durable.completion import CALL, DURABLE, TURN, WAKE
from eventmesh.durable.execution import Execution
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.executions.access import report
from eventmesh.executions.callers.identity import beginning_principal, check_repeated
from eventmesh.executions.session import operation_id
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import parse_destination, to_rpc, to_subscribers
from eventmesh.testing import TestMesh

ADA = Identity("jwt:ada", "jwt", frozenset({"invoke"}), {"exp": 1, "name": "Ada ü"})
EVIL = Identity("jwt:evil", "jwt")


class Seen(list[tuple[str, Identity]]):
    """Of each run that notes it: its function, and as whom it acts."""

    def of(self, function: str) -> list[Identity]:
        return [identity for name, identity in self if name == f"shop.{function}"]

    def note(self, ctx: Context) -> None:
        self.append((ctx.function, ctx.identity))


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def shop(shop: Service, seen: Seen) -> Service:
    """Functions that are caused in each way by a later turn, and durable ones that go on."""

    @shop.function(on.event("order.placed"), durable=True)
    async def place(ctx: DurableContext, who: Identity) -> None:
        seen.append(("shop.parameter", who))
        seen.note(ctx)
        await ctx.wait("3d")

        await ctx.send("shop.mail")
        await ctx.emit("order.reminder")
        await ctx.invoke(pack)
        await ctx.parallel(lambda inner: inner.send("shop.mail"))
        await ctx.invoke(collect)

    @shop.function(durable=True)
    async def collect(ctx: DurableContext) -> None:
        seen.note(ctx)
        await ctx.wait("1d")
        await ctx.send("shop.mail")

    @shop.function(on.event("payment.received", starts=False), durable=True)
    async def pay(ctx: DurableContext) -> None:
        await ctx.wait_for_event("payment.received")
        seen.note(ctx)
        await ctx.send("shop.mail")

    @shop.function(durable=True)
    async def approve(ctx: DurableContext) -> None:
        callback = await ctx.callback("approval")
        await ctx.send("shop.ask", {"id": callback.id})
        await callback.result()
        seen.note(ctx)
        await ctx.send("shop.mail")

    ids: list[str] = []

    @shop.function
    async def ask(id: str) -> None:
        ids.append(id)

    @shop.function
    async def answer(ctx: Context) -> None:
        seen.note(ctx)
        await ctx.complete(ids[-1])

    @shop.function
    async def mail(ctx: Context) -> None:
        seen.note(ctx)

    @shop.function
    async def pack(ctx: Context) -> None:
        seen.note(ctx)

    @shop.function(on.event("order.reminder"))
    async def remind(ctx: Context) -> None:
        seen.note(ctx)

    return shop


ID = "e1" * 16


async def forge(mesh: TestMesh, function: str, type: str, body: object) -> None:
    """Have a message handled that says what it likes: as whom, and in whose name it comes.

    Whoever has the broker's one account may do that. It is a request, so that it has been handled.
    """
    message = Message(
        orjson.dumps(body),
        new_id(),
        mesh.clock.now(),
        deadline=mesh.clock.monotonic() + 60,
        trigger=DURABLE,
        type=type,
        caller=function,
        principal=encode_identity(EVIL),
    )
    await mesh.broker.request(to_rpc(function), message)


async def send_as_evil(mesh: TestMesh, function: str, id: str) -> None:
    principal = encode_identity(EVIL)
    message = Message(b"null", id, mesh.clock.now(), principal=principal)
    await mesh.broker.publish(parse_destination(function), message)


async def test_later_turns_and_what_they_cause_act_as_what_began_them(
    shop: Service, seen: Seen
) -> None:
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.emit("order.placed")
        await mesh.settle()
        assert seen == [("shop.parameter", ADA), ("shop.place", ADA)]
        await mesh.advance("5d")
    assert {function for function, _ in seen} == {
        f"shop.{name}" for name in ("parameter", "place", "mail", "remind", "pack", "collect")
    }
    assert len(seen.of("mail")) == 3
    assert len(seen.of("place")) == 4
    assert [identity for _, identity in seen] == [ADA] * len(seen)


@pytest.mark.parametrize("function", ["shop.pay", "shop.approve"])
async def test_whoever_lets_it_go_on_does_not_count(
    shop: Service, seen: Seen, function: str
) -> None:
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send(function)
        await mesh.settle()
        if function == "shop.approve":
            await send_as_evil(mesh, "shop.answer", "7")
        else:
            event = Message(
                b"null",
                "7",
                mesh.clock.now(),
                trigger="event",
                type="payment.received",
                principal=encode_identity(EVIL),
            )
            await mesh.broker.publish(to_subscribers("payment.received"), event)
        await mesh.settle()
    assert seen.of("answer") == [EVIL] * (function == "shop.approve")
    assert seen.of(function.partition(".")[2]) == [ADA]
    assert seen.of("mail") == [ADA]


async def test_nobody_begins_and_whoever_lets_it_go_on_is_not_it(shop: Service, seen: Seen) -> None:
    async with TestMesh(shop) as mesh:
        await mesh.send("shop.approve")
        await mesh.settle()
        await send_as_evil(mesh, "shop.answer", "7")
        await mesh.settle()
    assert seen.of("approve") == seen.of("mail") == [Identity()]


class Slow:
    """A durable function whose first run goes on until the test lets it."""

    def __init__(self, shop: Service, seen: Seen) -> None:
        self.began, self.goes_on = asyncio.Event(), asyncio.Event()

        @shop.function(durable=True)
        async def slow(ctx: DurableContext) -> None:
            seen.note(ctx)
            if not self.began.is_set():
                self.began.set()
                await self.goes_on.wait()
            self.goes_on.set()
            await ctx.send("shop.mail")


@pytest.mark.parametrize("what", ["turn", "invocation"])
async def test_a_forged_turn_has_the_identity_of_the_store(
    shop: Service, seen: Seen, what: str
) -> None:
    slow = Slow(shop, seen)
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send("shop.slow", id=ID)
        await slow.began.wait()
        if what == "turn":
            await forge(mesh, "shop.slow", TURN, {"execution": ID, "turn": 1})
        else:
            await send_as_evil(mesh, "shop.slow", ID)
        await mesh.settle()
    assert seen.of("slow") == [ADA] * 2
    assert seen.of("mail") == [ADA]


async def test_a_forged_wake_has_the_identity_of_the_store(shop: Service, seen: Seen) -> None:
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send("shop.collect", id=ID)
        await mesh.settle()
        await forge(mesh, "shop.collect", WAKE, {"execution": ID})
        await mesh.advance("1d")
    assert seen.of("mail") == [ADA]


async def test_a_function_runs_no_turn_of_another(shop: Service, seen: Seen) -> None:
    slow = Slow(shop, seen)
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send("shop.slow", id=ID)
        await slow.began.wait()
        await forge(mesh, "shop.collect", TURN, {"execution": ID, "turn": 1})
        slow.goes_on.set()
        await mesh.settle()
    assert seen.of("collect") == []
    # It was not begun anew elsewhere, and so it recorded this.
    assert seen.of("mail") == [ADA]


@pytest.mark.parametrize("function", ["shop.collect", "shop.place"])
async def test_a_forged_call_invokes_nothing(shop: Service, seen: Seen, function: str) -> None:
    call = {"execution": ID, "operation": "1", "function": "shop.pack", "callee": "c1"}
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send("shop.collect", id=ID)
        await mesh.settle()
        await forge(mesh, function, CALL, call | {"payload": "null"})
        await mesh.settle()
    assert seen.of("pack") == []


async def test_a_forged_call_has_the_identity_of_the_store(shop: Service, seen: Seen) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    @shop.function
    async def weigh(ctx: Context) -> None:
        seen.note(ctx)
        if not began.is_set():
            began.set()
            await goes_on.wait()
        goes_on.set()

    @shop.function(durable=True)
    async def load(ctx: DurableContext) -> None:
        await ctx.invoke(weigh)

    call = {"execution": ID, "operation": operation_id("", 1), "function": "shop.weigh"}
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send(load, id=ID)
        await began.wait()
        await forge(mesh, "shop.load", CALL, call | {"callee": "c1", "payload": "null"})
        await mesh.settle()
    assert seen.of("weigh") == [ADA] * 2


async def test_an_execution_of_an_earlier_version_is_of_nobody(
    shop: Service, seen: Seen, tmp_path: Path
) -> None:
    async with TestMesh(shop, identity=ADA) as mesh:
        await mesh.send("shop.collect")
        await mesh.settle()
        with closing(sqlite3.connect(tmp_path / "shop.db")) as database, database:
            database.execute(
                "UPDATE eventmesh_executions SET state = json_remove(state, '$.principal')"
            )
        await mesh.advance("1d")
    assert seen.of("collect") == [ADA, Identity()]
    assert seen.of("mail") == [Identity()]


@pytest.mark.parametrize("text", ["", "ada", '{"p":"a"}', '{"p":"' + "a" * 9000 + '","m":"jwt"}'])
def test_text_that_is_no_identity_is_not_kept(text: str) -> None:
    assert beginning_principal(text) == ""


def test_an_identity_is_kept_as_it_came() -> None:
    text = '{"m":"jwt", "p":"jwt:ada"}'
    assert beginning_principal(text) == text


def execution(identity: Identity) -> Execution:
    return Execution(ID, ID, "shop.place", "$LATEST", 1.0, principal=encode_identity(identity))


@pytest.mark.parametrize("other", [EVIL, Identity()])
def test_a_caller_does_not_get_the_result_of_somebody_else(other: Identity) -> None:
    with pytest.raises(AccessDenied, match="another invocation began"):
        check_repeated(execution(ADA), execution(other), waits=True)
    # Redriven it has it go on, as whom it began, and gets nothing.
    check_repeated(execution(ADA), execution(other), waits=False)


def test_a_caller_who_asks_again_with_a_new_token_is_the_same() -> None:
    renewed = Identity(ADA.principal, ADA.method, claims={"exp": 2})
    check_repeated(execution(ADA), execution(renewed), waits=True)
    check_repeated(execution(Identity()), execution(ADA), waits=True)


def test_a_report_names_who_began_it_without_their_claims() -> None:
    told = report(execution(ADA), whole=True)
    assert told.principal == "jwt:ada"
    assert "Ada" not in repr(told)
    assert report(execution(Identity()), whole=False).principal == Identity().principal
