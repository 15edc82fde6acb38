"""Processes die under durable functions, at the points that a test names."""

import pytest

from eventmesh import DurableContext, Retry, Service, on
from eventmesh.testing import TestMesh

STUBS = {"mailer.thank": None}
AT = 60.0


@pytest.fixture
def shop() -> Service:
    return Service("shop", store="sqlite:///:memory:")


@pytest.fixture
def done() -> list[object]:
    return []


@pytest.fixture
def remind(shop: Service, done: list[object]) -> None:
    async def note(what: str) -> str:
        done.append(what)
        return what

    @shop.function(durable=True)
    async def remind(ctx: DurableContext) -> None:
        first = await ctx.step(note, "first", name="first")
        await ctx.wait("30d", name="month")
        await ctx.send("mailer.thank", {"after": first})
        await ctx.step(note, "second", name="second")


@pytest.mark.usefixtures("remind")
async def test_a_month_with_a_crash_at_each_point_ends_as_without(
    shop: Service, done: list[object]
) -> None:
    crashes: list[str] = []
    repeated = 0
    for mesh in TestMesh.each_crash(shop, stubs=STUBS, timeout=AT):
        done.clear()
        async with mesh:
            await mesh.send("shop.remind")
            await mesh.advance("30d")
            thanks = [sent.json for sent in mesh.sent if sent.function == "mailer.thank"]
        assert thanks == [{"after": "first"}]
        assert list(dict.fromkeys(done)) == ["first", "second"]
        # A step whose record was lost is run again, and no other.
        assert len(done) <= 3
        repeated += len(done) - 2
        crashes += mesh.crashes
    assert repeated == 2
    assert len(crashes) == len(set(crashes)) == 16
    for point in (
        "before it recorded StepStarted 'first', StepSucceeded 'first'",
        "after it recorded WaitSucceeded 'month'",
    ):
        assert any(point in crash for crash in crashes)


@pytest.fixture
def place(shop: Service, done: list[object]) -> None:
    async def note(what: object) -> object:
        done.append(what)
        return what

    @shop.function(durable=True)
    async def carry(order: int, ctx: DurableContext) -> str:
        await ctx.wait("1h")
        return f"carried {order}"

    async def pack(ctx: DurableContext) -> str:
        return await ctx.step(lambda: "packed", name="pack")

    async def label(ctx: DurableContext) -> str:
        await ctx.wait("1m", name="print")
        return "labelled"

    @shop.function(on.event("parcel.arrived", starts=False), durable=True)
    async def place(order: int, ctx: DurableContext) -> None:
        approval = await ctx.callback("approval", returns=bool)
        await ctx.step(note, approval.id, name="ask")
        approved = await approval.result()
        results = await ctx.parallel(pack, label)
        carried = await ctx.invoke(carry, {"order": order})
        arrived = await ctx.wait_for_event("parcel.arrived", match={"order": order})
        await ctx.step(note, [approved, *results, carried, arrived], name="end")


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("moment", ["during", "after"])
@pytest.mark.parametrize(
    "operation",
    ["approval", "ask", "parallel", "pack", "print", "shop.carry", "parcel.arrived", "end"],
)
async def test_callbacks_branches_calls_and_events_bear_a_crash(
    shop: Service, done: list[object], operation: str, moment: str
) -> None:
    async with TestMesh(shop, timeout=AT) as mesh:
        mesh.crash(**{moment: operation})
        await mesh.send("shop.place", {"order": 7})
        await mesh.settle()
        await mesh.complete(str(done[0]), True)
        await mesh.advance("2h")
        await mesh.emit("parcel.arrived", {"order": 7})
        await mesh.advance("1m")
    assert len(mesh.crashes) == 1
    assert done[-1] == [True, "packed", "labelled", "carried 7", {"order": 7}]
    again = moment == "during" and operation in {"ask", "end"}
    assert len(done) == (3 if again else 2)


@pytest.mark.parametrize(("at_most_once", "runs"), [(False, 2), (True, 1)])
async def test_a_step_that_is_run_at_most_once_is_not_run_again(
    shop: Service, done: list[object], at_most_once: bool, runs: int
) -> None:
    @shop.function(durable=True)
    async def place(ctx: DurableContext) -> None:
        await ctx.step(
            done.append, "charge", name="charge", retry=Retry(1), at_most_once=at_most_once
        )

    # Not run again, it fails, and the execution with it.
    async with TestMesh(shop, timeout=AT, allow_failures=at_most_once) as mesh:
        mesh.crash(during="charge")
        await mesh.send(place)
        await mesh.settle()
    assert done == ["charge"] * runs


async def remind_once(mesh: TestMesh) -> None:
    async with mesh:
        await mesh.send("shop.remind")
        await mesh.settle()


@pytest.mark.usefixtures("remind")
async def test_one_point_of_a_test_that_is_parametrised(shop: Service) -> None:
    mesh = TestMesh(shop, stubs=STUBS, timeout=AT, crash_at=3)
    await remind_once(mesh)
    (crash,) = mesh.crashes
    assert crash.endswith("(crash_at=3)")
    with pytest.raises(AssertionError, match="crash_at=99 did not happen: there were 8 points"):
        await remind_once(TestMesh(shop, stubs=STUBS, timeout=AT, crash_at=99))


@pytest.mark.usefixtures("remind")
async def test_a_crash_that_did_not_happen_is_told(shop: Service) -> None:
    expected = r"crash\(after='frist'\) did not happen: the operations that ended are 'first'"
    mesh = TestMesh(shop, stubs=STUBS, timeout=AT)
    mesh.crash(after="frist")
    with pytest.raises(AssertionError, match=expected):
        await remind_once(mesh)


@pytest.mark.usefixtures("remind")
async def test_a_test_that_fails_says_where_the_crash_was(shop: Service) -> None:
    async def fail() -> None:
        for mesh in TestMesh.each_crash(shop, stubs=STUBS, timeout=AT):
            async with mesh:
                await mesh.send("shop.remind")
                await mesh.settle()
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await fail()
    (note,) = raised.value.__notes__
    assert note == "shop.remind died before it recorded ExecutionStarted (crash_at=1)"


@pytest.mark.parametrize("names", [{}, {"after": "a", "during": "b"}])
async def test_a_crash_is_at_one_place(shop: Service, names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="as after= or as during="):
        TestMesh(shop).crash(**names)


async def test_a_mesh_that_is_not_entered_is_no_test(shop: Service) -> None:
    with pytest.raises(RuntimeError, match="was not entered"):
        list(TestMesh.each_crash(shop))
