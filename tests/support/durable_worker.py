"""A process with a durable function, whose steps note that they ran, and that is killed often."""

import asyncio
import ctypes
import signal

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import asyncpg as driver  # noqa: F401 - loaded before the fork

from eventmesh import Context, DurableContext, Service, on
from eventmesh.brokers.registry import open_broker
from eventmesh.executions import runtime  # noqa: F401 - loaded before the fork
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.store import service_store  # noqa: F401 - loaded before the fork
from eventmesh.store.database import Database
from eventmesh.store.outbox import relay  # noqa: F401 - loaded before the fork
from eventmesh.store.urls import read_store_url

STEPS = 10
MESSAGES = 3
"""What an execution sends, each with a step of its own."""
CHAINED = 1
"""Steps of the execution that it invokes."""
_PR_SET_PDEATHSIG = 1


def build_services(suffix, database):
    """An order takes ten steps with waits, asks others, and tells what they returned.

    One of these is durable too, with a step and a wait. It waits for a callback and an event, too.
    """
    orders = Service(f"orders{suffix}")

    async def note(number, step):
        async with database.begin() as connection:
            await connection.execute(
                text("INSERT INTO noted VALUES (:n, :step)"), {"n": number, "step": step}
            )
        return step

    @orders.function
    async def double(number: int) -> int:
        return number * 2

    @orders.function(durable=True, concurrency=20)
    async def price(number: int, ctx: DurableContext) -> int:
        priced = await ctx.step(note, number, STEPS)
        await ctx.wait(1)
        return number * priced

    @orders.function
    async def approve(number: int, callback: str, ctx: Context) -> None:
        await ctx.complete(callback, number)

    noticed = f"noticed.{suffix}"

    @orders.function(on.event(noticed, starts=False), durable=True, concurrency=20)
    async def place(number: int, ctx: DurableContext) -> None:
        steps = []
        for step in range(STEPS):
            steps.append(await ctx.step(note, number, step))
            if step % 4 == 3:
                await ctx.wait(1)
        twice = await ctx.invoke(double, {"number": number})
        priced = await ctx.invoke(price, {"number": number})
        approval = await ctx.callback(returns=int)
        await ctx.send(approve, {"number": number, "callback": approval.id})
        event = await ctx.expect_event(noticed, match={"number": number})
        await ctx.emit(noticed, {"number": await approval.result()})
        await event.result()
        told = {"number": number, "steps": steps, "twice": twice, "price": priced}
        await ctx.send(finish, told)

    @orders.function
    async def finish(number: int, steps: list[int], twice: int, price: int, ctx: Context) -> None:
        async with ctx.transaction() as session:
            await session.execute(
                text("INSERT INTO finished VALUES (:n, :steps, :twice, :price)"),
                {"n": number, "steps": len(steps), "twice": twice, "price": price},
            )

    return [orders]


def run(store_url, broker_url, suffix, up):
    """Run the services until the process is killed; `up` is set when they run."""
    # Children of a fork server outlive the tests otherwise, if these are killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    asyncio.run(_serve(store_url, broker_url, suffix, up))


async def _serve(store_url, broker_url, suffix, up):
    database = Database(read_store_url(store_url))
    async with (
        open_broker(broker_url, "durable") as broker,
        host_services(
            build_services(suffix, database),
            broker,
            Settings(store=store_url, http_port=0),
            http=None,
        ),
    ):
        up.set()
        await asyncio.Event().wait()
