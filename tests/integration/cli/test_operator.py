"""The command line works with the rights that `eventmesh export broker` gives to the operator."""

import asyncio
import json
import signal
from uuid import uuid4

import pytest

STOCK = """
from eventmesh import Retry, Service, on

stock = Service("stock", calls=[], emits=[])

@stock.function(on.event("order.*"))
async def count(n: int) -> None: ...

@stock.function(retry=Retry(1))
async def fail() -> None:
    raise ValueError("broken")

@stock.function(on.queue("paper"))
async def scan(n: int) -> None: ...
"""

ORDERS = """
from eventmesh import Service

orders = Service("orders", calls=[], emits=["order.placed"])

@orders.function
async def tell(n: int) -> None:
    print("told", n, flush=True)
"""


@pytest.fixture
async def mesh(run, write, tmp_path, rabbitmq):
    """The files of two services, whose users and those of the command line are at RabbitMQ."""
    sources = [str(write("stock.py", STOCK)), str(write("orders.py", ORDERS))]
    virtual_host = uuid4().hex
    ended = await run("export", "broker", *sources, "--output", "broker", "--vhost", virtual_host)
    assert ended.code == 0, ended.err
    importing = "rabbitmqctl --silent import_definitions $PWD/definitions.json"
    await asyncio.to_thread(rabbitmq.run_beside, tmp_path / "broker", importing)

    def settings(user):
        secret = tmp_path / "broker" / "secrets" / user
        host = f"{rabbitmq.host}:{rabbitmq.port}/{virtual_host}"
        return {
            "EVENTMESH_BROKER": f"amqp://{user}@{host}?password_file={secret}",
            "EVENTMESH_BROKER_USERS": "per-service",
            "EVENTMESH_GATEWAYS": "gateway,operator",
            "EVENTMESH_HTTP_PORT": "0",
            "EVENTMESH_ADMIN_PORT": "0",
        }

    return sources, settings, virtual_host


@pytest.mark.disruptive  # A node of its own: the users are those of the command.
async def test_an_operator_looks_redrives_and_prunes(launch, run, ask, mesh, rabbitmq):
    (stock, orders), settings, virtual_host = mesh

    async def operate(*arguments, code=0):
        ended = await run(*arguments, **settings("operator"))
        assert ended.code == code, (arguments, ended)
        return ended.out

    async def look(*arguments, shows):
        ended = await ask(
            *arguments,
            expect=lambda ended: ended.code == 0 and shows in ended.out,
            **settings("operator"),
        )
        return ended.out

    told = await launch("run", orders, **settings("orders"))
    await told.line("is ready")
    serving = await launch("run", stock, **settings("stock"))
    await serving.line("is ready")

    await look("ps", shows="stock.count")
    nothing = "nothing is there that no code has"
    assert "rights" not in await look("doctor", stock, orders, "--all", shows=nothing)

    await operate("send", "stock.fail", "{}")
    await look("dlq", "list", "stock.fail", shows="broken")
    assert "1 dead letter of stock.fail" in await operate("dlq", "redrive", "stock.fail", "--all")
    await look("dlq", "list", "stock.fail", shows="broken")

    # A gateway may not read the records: it counts what processes serve, and removes nothing.
    gateway = await launch("gateway", **settings("gateway"))
    address = (await gateway.line(r"is ready at (http://[0-9.:]+)"))[1]
    listed = await run("dlq", "list", "--json", "--url", address)
    assert [each["function"] for each in json.loads(listed.out)] == ["stock.fail"]
    refused = await run("prune", "--dry-run", "--url", address)
    assert (refused.code, "gateway" in refused.err) == (3, True), refused

    serving.kill(signal.SIGTERM)
    assert await serving.code() == 0
    await operate("send", "stock.count", '{"n": 7}')
    pruned = await operate(
        *("prune", "stock", "--move-to", "orders.tell", "--dead-letters", "--yes")
    )
    assert "stock.count removed: 1 invocation moved to orders.tell" in pruned
    assert "stock.fail removed: 1 dead letter dropped" in pruned
    await told.line("told 7")
    assert await operate("prune", "--dry-run") == "Nothing to remove.\n"
    queues = await rabbitmq.ctl("list_queues", "-p", virtual_host, "name")
    left = [name for name in queues.split() if ".stock" in name]
    # Its ladder for delays is no queue of a function, and the queue of its trigger is another's.
    assert [name for name in left if not name.startswith("em.delay.")] == []
    assert "em.inbox.orders.tell" in queues


@pytest.mark.disruptive
async def test_a_service_is_told_in_one_line_which_rights_its_doctor_lacks(launch, ask, mesh):
    (stock, orders), settings, _ = mesh
    for source, user in ((stock, "stock"), (orders, "orders")):
        launched = await launch("run", source, **settings(user))
        await launched.line("is ready")
    ended = await ask(
        *("doctor", "--json"),
        expect=lambda ended: ended.code == 0 and "em.record.stock" in ended.out,
        **settings("orders"),
    )
    (note,) = [each for each in json.loads(ended.out) if each["level"] != "ok"]
    assert note["subject"] == "rights"
    assert "of leftovers (configure, write and read on em.record.stock)" in note["what"]
    assert "as the user 'operator'" in note["advice"]
