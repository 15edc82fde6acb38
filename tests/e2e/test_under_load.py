"""Containers come and go under load: no request fails dishonestly, and the books balance."""

from composed import run
from shopping import Load

MOST = 200
"""Requests a second through the gateway, at most; one in `Load.EVERY` places an order."""

SHARE = 0.5
"""Of the orders a second that this machine brings to their end with one container of a service.

At more than it can do, the shop only sheds load, and the blows prove nothing.
"""

BETWEEN = 10.0
"""Between two blows, seconds of the load: all the orders of that time are accepted, late or not."""


async def test_scaling_killing_replacing_and_a_restart_of_the_broker_lose_nothing(
    shop, project, say
):
    await shop.stock(1_000_000)
    await shop.balanced()
    await shop.capacity(50)  # The first orders find everything cold.
    rate = min(MOST, SHARE * await shop.capacity(150) * Load.EVERY)
    orders = round(rate * BETWEEN / Load.EVERY)
    say(f"{rate:.0f} requests a second, {orders} orders between two blows")
    async with Load(shop, rate) as load:
        await load.accepts(orders)
        await scale(project, "orders", 3)
        await load.accepts(orders)
        await kill_one(project, "orders")
        await load.accepts(orders)
        await replace(project, "inventory")
        await load.accepts(orders)
        await project.compose("restart", "rabbitmq")
        await load.accepts(orders)
    say(f"{load.statuses.total()} requests, by status: {dict(load.statuses)}")
    assert not load.dishonest
    say(f"the books: {await shop.balanced()}")
    ended = await shop.orders("confirmed") | await shop.orders("cancelled")
    assert ended >= set(load.placed)


async def scale(project, service, count):
    """Add containers to those of a service, which go on."""
    await project.compose(
        *("up", "--detach", "--wait", "--no-recreate", "--no-deps"),
        *("--scale", f"{service}={count}", service),
    )


async def kill_one(project, service):
    """What kill -9, or a machine that is switched off, does to a container."""
    killed, *_ = await project.running(service)
    await run("docker", "kill", killed.id)


async def replace(project, service):
    """Run a new image of a service in place of the old one: first the new container, then the
    old one is stopped, which drains it."""
    (old,) = await project.running(service)
    dockerfile = f"FROM {old.image}\nLABEL release=next\n"
    await run("docker", "build", "--tag", old.image, "-", standard_input=dockerfile)
    await scale(project, service, 2)
    await run("docker", "stop", old.id)
    await run("docker", "rm", old.id)
    (new,) = await project.running(service)
    assert new.image_id != old.image_id
