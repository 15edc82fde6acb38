"""Each container reaches RabbitMQ as a user of its own, and can do there what its code says."""

import json
from pathlib import Path

import pytest
from composed import run

SERVICES = ("orders", "inventory", "payments", "notifications", "reports")
SCRIPT = Path(__file__).with_name("broker_access.py").read_text("utf-8")

ALLOWED = (
    ("publish", "em.to.inbox.reports.close_day"),
    ("forge", "em.to.inbox.reports.close_day", "reports"),
    ("get", "em.dead.reports.record"),
)
REFUSED = (
    ("publish", "", "em.inbox.payments.refund"),
    ("publish", "em.to.inbox.payments.refund"),
    ("publish", "em.to.rpc.inventory.reserve"),
    ("publish", "em.to.queue.notifications.mails"),
    ("publish", "em.event.payment.succeeded"),
    ("publish", "em.events", "payment.succeeded"),
    ("publish", "em.own.orders", "em.timers.orders"),
    ("publish", "em.to.dead.orders.confirm"),
    ("publish", "amq.topic", "x"),
    ("consume", "em.inbox.orders.confirm"),
    ("consume", "em.timers.orders"),
    ("get", "em.dead.payments.charge"),
    ("purge", "em.inbox.orders.confirm"),
    ("delete", "em.inbox.orders.confirm"),
    ("declare", "em.rpc.orders.place_order"),
    ("declare", "mine"),
    ("bind", "em.inbox.reports.record", "em.event.payment.succeeded"),
    ("bind", "em.inbox.reports.record", "em.events"),
    ("bind-exchange", "em.to.inbox.payments.refund", "em.to.inbox.reports.close_day"),
    ("delete-exchange", "em.replies"),
    ("declare-exchange", "em.mine"),
)
PORTS = """
import json, socket, sys
def answers(port):
    try:
        socket.create_connection(("rabbitmq", port), 10).close()
    except ConnectionRefusedError:
        return False
    return True
print(json.dumps([port for port in json.loads(sys.argv[1]) if answers(port)]))
"""
UNTRUSTING = """
import socket, ssl
try:
    ssl.create_default_context().wrap_socket(
        socket.create_connection(("rabbitmq", 5671), 10), server_hostname="rabbitmq"
    )
except ssl.SSLCertVerificationError:
    print("refused")
"""
PLAIN = 5672
TLS = 5671
OTHERS = (4369, PLAIN, 15672, 15692, 25672)


async def attempts(project, service, operations):
    """What becomes of each operation, with the secrets of a service in its container."""
    printed = await project.execute(service, "python", "-c", SCRIPT, json.dumps(operations))
    return dict(zip(operations, json.loads(printed), strict=True))


async def test_a_service_is_refused_what_is_not_in_its_code(project):
    found = await attempts(project, "reports", [*REFUSED, *ALLOWED])
    assert found == dict.fromkeys(REFUSED, "ACCESS_REFUSED") | dict.fromkeys(ALLOWED, "done")


async def test_a_service_cannot_say_that_it_is_another(project):
    forged = ("forge", "em.to.inbox.reports.close_day", "payments")
    assert await attempts(project, "reports", [forged]) == {forged: "PRECONDITION_FAILED"}


async def test_each_container_has_its_own_secret_and_no_other(project):
    for service in (*SERVICES, "gateway"):
        listed = await project.execute(service, "ls", "/run/secrets")
        database = [f"{service}.postgres"] if service in SERVICES else []
        assert listed.split() == sorted([service, "ca.pem", *database])
    postgres = (await project.execute("postgres", "ls", "/run/secrets")).split()
    assert postgres == ["postgres.key", "postgres.pem", "postgres.sql"]
    rabbitmq = (await project.execute("rabbitmq", "ls", "/run/secrets")).split()
    assert rabbitmq == ["ca.pem", "definitions.json", "rabbitmq.key", "rabbitmq.pem"]
    for service in ("provider", "carrier", "mailbox"):
        assert (
            await project.execute(service, "sh", "-c", "ls /run/secrets 2>/dev/null || true") == ""
        )


async def test_no_password_can_be_seen_from_outside(project):
    secrets = project.folder / "secrets"
    passwords = [(secrets / name).read_text("utf-8") for name in (*SERVICES, "gateway", "operator")]
    seen = await project.compose("config")
    for container in await project.running():
        seen += await run("docker", "inspect", container.id)
    seen += await run("docker", "image", "inspect", *project.images)
    assert not [password for password in passwords if password in seen]


async def test_rabbitmq_has_no_administrator_and_no_plugin(project):
    users = await project.execute("rabbitmq", "rabbitmqctl", "--quiet", "list_users")
    assert set(users.splitlines()[1:]) == {
        f"{name}\t[]" for name in (*SERVICES, "gateway", "operator")
    }
    plugins = ("rabbitmq-plugins", "list", "--quiet", "--enabled", "--minimal")
    assert (await project.execute("rabbitmq", *plugins)).strip() == ""


@pytest.mark.parametrize("service", ["orders", "gateway", "mailbox"])
async def test_rabbitmq_answers_by_tls_alone(project, service):
    printed = await project.execute(service, "python", "-c", PORTS, json.dumps([TLS, *OTHERS]))
    assert json.loads(printed) == [TLS]


async def test_rabbitmq_is_not_trusted_because_it_answers(project):
    """Only the authority of this mesh signs for it; services verify that before they log in."""
    assert await project.execute("orders", "python", "-c", UNTRUSTING) == "refused\n"


async def test_the_command_line_has_a_user_of_its_own(project, shop):
    seen = await project.compose("run", "--rm", "-T", "operator", "ps")
    assert "orders.place_order" in seen
    assert await project.compose("run", "--rm", "-T", "operator", "dlq", "list")


@pytest.fixture
def replaced(project):
    """Secrets that a test replaces: they are the clone's, and other containers may have them."""
    names = ("orders", "orders.postgres", "rabbitmq.pem", "rabbitmq.key")
    return {
        file: file.read_text("ascii")
        for file in (project.folder / "secrets" / name for name in names)
    }


async def test_a_password_and_a_certificate_are_replaced_while_everything_runs(
    project, shop, replaced
):
    before = [each.id for each in await project.running("orders")]
    try:
        await load(project, "--renew orders --renew rabbitmq")
        assert not [file for file, text in replaced.items() if file.read_text("ascii") == text]
        await reconnects(project, shop)
        assert (await shop.order(customer="eve@shop.example"))[0] == 201
    finally:
        for file, text in replaced.items():
            file.write_text(text, "ascii")
        await load(project)
    await reconnects(project, shop)
    assert (await shop.order(customer="eve@shop.example"))[0] == 201
    assert [each.id for each in await project.running("orders")] == before


async def load(project, arguments=""):
    """Have the servers take the secrets and rights of now, as docs/containers.md says."""
    await run("make", "secrets", f"ARGS={arguments}", cwd=project.folder)
    await control(project, "import_definitions", "/run/secrets/definitions.json")
    await project.execute("postgres", "psql", "--quiet", "--file", "/run/secrets/postgres.sql")
    await control(project, "eval", "ssl:clear_pem_cache().")


async def reconnects(project, shop):
    """Have the service log in anew, as it does after any lost connection."""
    await control(project, "close_all_user_connections", "orders", "rotated")
    await shop.until(lambda: connections(project, "orders"), lambda count: count > 0)


async def control(project, *arguments):
    return await project.execute("rabbitmq", "rabbitmqctl", "--quiet", *arguments)


async def connections(project, user):
    return (await control(project, "list_connections", "user")).split().count(user)
