"""Leaving a mesh: what still runs is cancelled, and what failed is told."""

import asyncio

import pytest

from eventmesh import Context, Retry, Service
from eventmesh.testing import TestMesh


async def send_and_settle(service: Service, **options: bool) -> None:
    """Run the service's only function."""
    (function,) = service.functions.values()
    async with TestMesh(service, **options) as mesh:
        await mesh.send(function)
        await mesh.settle()


@pytest.fixture
def failing():
    service = Service("shop")

    @service.function(retry=Retry(1))
    async def work() -> None:
        raise ValueError("no such order")

    return service


async def test_leaving_raises_what_was_dead_lettered(failing):
    expected = r"(?s)shop\.work became a dead letter.*in work.*ValueError: no such order"
    with pytest.raises(AssertionError, match=expected):
        await send_and_settle(failing)


async def test_failures_can_be_what_a_test_wants(failing):
    await send_and_settle(failing, allow_failures=True)


async def test_a_failing_test_fails_for_its_own_reason(failing):
    async def fail() -> None:
        async with TestMesh(failing) as mesh:
            await mesh.send("shop.work")
            await mesh.settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        await fail()
    (note,) = raised.value.__notes__
    assert "ValueError: no such order" in note


async def test_leaving_raises_what_waits_for_a_retry():
    shop = Service("shop")

    @shop.function
    async def work(ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("not yet")

    with pytest.raises(AssertionError, match=r"shop\.work failed and waits for attempt 2"):
        await send_and_settle(shop)
    async with TestMesh(shop) as mesh:
        await mesh.send(work)
        await mesh.advance("1m")
        assert len(mesh.retried) == 1


async def test_leaving_cancels_what_still_runs():
    shop, ended = Service("shop"), []

    @shop.function
    async def sleeping() -> None:
        try:
            await mesh.sleep("10d")
        finally:
            ended.append("sleeping")

    @shop.function
    async def busy() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("busy")

    async with TestMesh(shop) as mesh:
        await mesh.send(sleeping)
        await mesh.settle()
        await mesh.send(busy)
        await mesh.clock.settle()
    assert sorted(ended) == ["busy", "sleeping"]


async def test_a_mesh_can_be_left_by_another_task_than_entered_it():
    async def enter() -> TestMesh:
        return await TestMesh(Service("shop")).__aenter__()

    async with asyncio.TaskGroup() as tasks:
        mesh = await tasks.create_task(enter())
        await tasks.create_task(mesh.__aexit__(None, None, None))
    assert not mesh.broker.ready
