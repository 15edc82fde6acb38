import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.model.topology import named

APP = """
from eventmesh import Service

app = Service("app")
"""
TAKES = """
from eventmesh import Service, on

app = Service("app")

@app.function(on.queue("theirs", declare=False))
async def take(number: int) -> None: ...
"""


def is_ready(health):
    # A process has some seconds to answer, which a busy machine may outlast.
    return health.code == 0


@pytest.fixture
async def admin(launch, write):
    """Start `eventmesh run` and return the address of its health."""

    async def admin(broker, app=APP):
        write("app.py", app)
        process = await launch("run", "app.py", "--broker", broker, "--port=0", "--admin-port=0")
        found = await process.line(r"metrics and health of all workers: http://([\d.]+):(\d+)")
        return process, {"EVENTMESH_ADMIN_HOST": found[1], "EVENTMESH_ADMIN_PORT": found[2]}

    return admin


async def test_a_process_that_is_ready(admin, ask):
    process, address = await admin("memory://")
    await process.line("is ready at")
    for host in (address["EVENTMESH_ADMIN_HOST"], "0.0.0.0"):
        at_host = address | {"EVENTMESH_ADMIN_HOST": host}
        health = await ask("health", expect=is_ready, **at_host)
        assert health.err == ""
        assert '"status":"ready"' in health.out


async def test_a_process_that_lives_and_is_not_ready(admin, run, ask):
    # Nothing listens there: the worker goes on trying.
    _, address = await admin("amqp://127.0.0.1:1")
    health = await ask("health", expect=lambda health: not health.err, **address)
    assert health.code == 1
    assert '"status":"not ready"' in health.out
    await ask("health", "--live", expect=is_ready, **address)


async def test_a_process_without_its_queue_is_not_ready(admin, ask, rabbitmq):
    url = await rabbitmq.new_virtual_host()
    async with RabbitBroker(url, connect_timeout=60) as owner:
        await owner.declare([named("theirs")])
        process, address = await admin(url, TAKES)
        await process.line("is ready at")
        await ask("health", expect=is_ready, **address)
        await rabbitmq.delete_queue("theirs", url.rpartition("/")[2])
        missing = '"worker 1 broker":"not ready"'
        health = await ask("health", expect=lambda health: missing in health.out, **address)
        assert health.code == 1
        await owner.declare([named("theirs")])
        await ask("health", expect=is_ready, **address)


async def test_nothing_runs(run):
    health = await run("health", EVENTMESH_ADMIN_PORT="1")
    assert health.code == 1
    assert "nothing answers at http://127.0.0.1:1 (" in health.err
    assert "is the process running" in health.err
