"""Containers come and go under load: no request fails dishonestly, and the books balance."""

from composed import run
from shopping import Load

RATE = 200
"""Requests a second through the gateway; one in eight places an order."""

BETWEEN = 150
"""Orders that are accepted between two blows: six seconds of the load, if none fails."""


async def test_scaling_killing_replacing_and_a_restart_of_the_broker_lose_nothing(
    shop, project, say
):
    await shop.stock(1_000_000)
    await shop.balanced()
    async with Load(shop, RATE) as load:
        await load.accepts(BETWEEN)
        await scale(project, "orders", 3)
        await load.accepts(BETWEEN)
        await kill_one(project, "orders")
        await load.accepts(BETWEEN)
        await replace(project, "inventory")
        await load.accepts(BETWEEN)
        await project.compose("restart", "rabbitmq")
        await load.accepts(BETWEEN)
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
