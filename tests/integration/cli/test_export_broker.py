"""`eventmesh export broker`: RabbitMQ takes what it writes, and services run as these users."""

import asyncio
import json
from urllib.parse import quote
from uuid import uuid4

import aiormq
import pytest
from aiohttp import ClientSession
from aiormq.exceptions import ChannelAccessRefused

STOCK = """
from eventmesh import Service

stock = Service({stock!r})

@stock.function
async def reserve(n: int) -> int:
    return n * 2
"""

ORDERS = """
from eventmesh import Context, Service, on

orders = Service({orders!r}, calls=[{stock!r} + ".reserve"])

@orders.function(on.post("/orders"))
async def place(ctx: Context, n: int) -> int:
    return await ctx.invoke({stock!r} + ".reserve", {{"n": n}}, returns=int)

@orders.function
async def tell(ctx: Context) -> None: ...
"""

IMPORTS = {
    "definitions.json": "rabbitmqctl --silent import_definitions $PWD/definitions.json",
    "permissions.sh": "sh permissions.sh",
}


@pytest.fixture
def names():
    id = uuid4().hex[:8]
    return {"stock": f"stock{id}", "orders": f"orders{id}"}


@pytest.fixture
def sources(write, names):
    return [
        str(write("stock.py", STOCK.format(**names))),
        str(write("orders.py", ORDERS.format(**names))),
    ]


def permissions_of(folder, user):
    definitions = json.loads((folder / "definitions.json").read_text())
    (found,) = (row for row in definitions["permissions"] if row["user"] == user)
    return [found[right] for right in ("configure", "write", "read")]


@pytest.mark.disruptive  # A node of its own: the users are those of the command.
@pytest.mark.parametrize("imported", IMPORTS.values(), ids=IMPORTS)
async def test_services_run_as_the_users_that_it_writes(
    run, launch, tmp_path, rabbitmq, sources, names, imported
):
    virtual_host = f"the mesh's {uuid4().hex}"
    ended = await run("export", "broker", *sources, "--output", "broker", "--vhost", virtual_host)
    assert ended.code == 0, ended.err
    await asyncio.to_thread(rabbitmq.run_beside, tmp_path / "broker", imported)
    host = f"{rabbitmq.host}:{rabbitmq.port}/{quote(virtual_host, safe='')}"

    def settings(user):
        secret = tmp_path / "broker" / "secrets" / user
        return {
            "EVENTMESH_BROKER": f"amqp://{user}@{host}?password_file={secret}",
            "EVENTMESH_BROKER_USERS": "per-service",
            "EVENTMESH_HTTP_PORT": "0",
            "EVENTMESH_ADMIN_PORT": "0",
        }

    for source, service in zip(sources, names.values(), strict=True):
        launched = await launch("run", source, **settings(service))
        address = (await launched.line(r"is ready at (http://[\w.:]+)"))[1]
    async with ClientSession(address) as http, http.post("/orders", json={"n": 3}) as answer:
        assert (answer.status, await answer.json()) == (200, 6)

    own = settings(names["stock"])
    ended = await run("doctor", "--permissions", *sources, **own)
    assert (ended.code, ended.err) == (0, ""), ended.out
    assert ended.out.endswith(" rights are OK.\n")
    everything = (".*", ".*", ".*")
    await rabbitmq.ctl("set_permissions", "-p", virtual_host, names["stock"], *everything)
    ended = await run("doctor", "--permissions", *sources, **own)
    assert ended.code == 1
    assert "TOO MUCH" in ended.out
    granted = permissions_of(tmp_path / "broker", names["stock"])
    await rabbitmq.ctl("set_permissions", "-p", virtual_host, names["stock"], *granted)

    password = (tmp_path / "broker" / "secrets" / names["stock"]).read_text()
    connection = await aiormq.connect(f"amqp://{names['stock']}:{password}@{host}")
    try:
        channel = await connection.channel()
        with pytest.raises(ChannelAccessRefused):
            await channel.basic_publish(b"{}", exchange=f"em.to.inbox.{names['orders']}.tell")
    finally:
        await connection.close()

    users = json.loads(await rabbitmq.ctl("list_users", "--formatter=json", "--silent"))
    tags = {row["user"]: row["tags"] for row in users}
    written = [*names.values(), "gateway", "operator"]
    assert [tags[user] for user in written] == [[]] * len(written)
