"""Tasks that the code of a durable function makes itself, beside what it waits for."""

import asyncio

from eventmesh import DurableContext, Service
from eventmesh.testing import TestMesh


async def test_one_that_does_something_else_is_cancelled_and_begun_anew(shop: Service) -> None:
    seen: list[str] = []

    async def watch() -> None:
        seen.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    @shop.function(durable=True)
    async def guard(ctx: DurableContext) -> None:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            await ctx.wait("1d")
            seen.append("woke")
            await ctx.wait("1d")
            watching.cancel()

    async with TestMesh(shop) as mesh:
        await mesh.send(guard)
        await mesh.settle()
        # The turn has ended although the task would have gone on for ever.
        assert seen == ["began", "cancelled"]
        await mesh.advance("1d")
        assert seen == ["began", "cancelled", "woke", "began", "cancelled"]
