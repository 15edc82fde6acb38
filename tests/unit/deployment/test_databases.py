"""The PostgreSQL that a deployment brings along, for the services whose code needs one."""

import pytest
import yaml
from click.testing import CliRunner

from eventmesh.cli.main import cli

STORED = """
from sqlalchemy import MetaData
from eventmesh import Service

orders = Service("orders", calls=[], emits=[], tables=MetaData())

@orders.function
async def place() -> None: ...
"""
PLAIN = """
from eventmesh import Service

plain = Service("plain", calls=[], emits=[])

@plain.function
async def run() -> None: ...
"""
TARGETS = ("shop/orders", "shop/plain")
URL = (
    "postgresql://orders@postgres/orders?password_file=/run/secrets/orders.postgres"
    "&sslmode=verify-full&sslrootcert=/run/secrets/ca.pem"
)


@pytest.fixture
def export(write):
    write("shop/orders/app.py", STORED)
    write("shop/plain/app.py", PLAIN)

    def export(kind, *arguments, code=0):
        result = CliRunner().invoke(cli, ["export", kind, *TARGETS, *arguments])
        assert result.exit_code == code, result.output
        return result.stderr if code else yaml.safe_load(result.stdout)

    return export


def test_what_needs_a_database_has_a_user_and_a_secret_of_its_own(export):
    document = export("compose")
    services = document["services"]
    orders, plain, postgres = services["orders"], services["plain"], services["postgres"]
    assert orders["environment"]["EVENTMESH_STORE"] == URL
    assert orders["secrets"] == ["orders", "ca.pem", "orders.postgres"]
    assert orders["build"]["args"] == ["BASE", "EXTRAS=[sql]"]
    assert list(orders["depends_on"]) == ["rabbitmq", "postgres"]
    assert "EVENTMESH_STORE" not in plain["environment"]
    assert list(plain["depends_on"]) == ["rabbitmq"]
    # It has no password of anybody, and nothing of it is published.
    assert postgres["secrets"] == ["postgres.pem", "postgres.key", "postgres.sql"]
    assert postgres["user"] == "postgres"
    assert "ports" not in postgres
    assert set(document["volumes"]) == {"rabbitmq", "postgres"}


@pytest.mark.parametrize("durable", ["durable=True", "idempotency_key='id'"])
def test_a_function_that_needs_a_store_is_enough(export, write, durable):
    code = PLAIN.replace("@plain.function", f"@plain.function({durable})")
    write("shop/plain/app.py", code.replace("run()", "run(id: str)"))
    assert "EVENTMESH_STORE" in export("compose")["services"]["plain"]["environment"]


def test_no_service_that_needs_one_brings_none(export):
    document = export("compose", "--set", "services.orders.database=false")
    assert "postgres" not in document["services"]
    assert set(document["volumes"]) == {"rabbitmq"}
    assert "postgres.sql" not in document["secrets"]


def test_a_database_of_yours_is_used_instead(export):
    document = export("compose", "--set", "services.orders.store=orders-url")
    orders = document["services"]["orders"]
    assert "postgres" not in document["services"]
    assert "EVENTMESH_STORE" not in orders["environment"]
    assert orders["environment"]["EVENTMESH_STORE_FILE"] == "/run/secrets/orders-url"


def test_it_can_be_asked_for(export):
    document = export(
        "compose", "--set", "services.plain.database=true", "--set", "postgres.memory=2G"
    )
    assert "EVENTMESH_STORE" in document["services"]["plain"]["environment"]
    assert document["services"]["postgres"]["deploy"]["resources"]["limits"]["memory"] == "2G"


def test_a_stack_has_it_on_the_node_with_its_data(export):
    document = export("swarm", "--set", "registry=r.example")
    postgres = document["services"]["postgres"]
    assert postgres["deploy"]["placement"] == {"constraints": ["node.labels.postgres == true"]}
    assert postgres["healthcheck"]["test"][0] == "CMD"
    assert set(document["configs"]) == {"rabbitmq.conf", "postgres.sh"}
    assert {"postgres.key", "orders.postgres"} <= set(document["secrets"])


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("kubernetes", ()),
        ("systemd", ("--set", "broker=amqps://mq.example/shop")),
        ("compose", ("--set", "broker=amqps://mq.example/shop")),
    ],
)
def test_where_it_cannot_be_brought_the_export_says_what_to_do(export, kind, arguments):
    said = export(kind, *arguments, code=2)
    assert "orders needs a database" in said
    assert "services.orders.store" in said


def test_both_a_database_and_a_store_are_refused(export):
    said = export(
        "compose",
        *("--set", "services.orders.store=mine", "--set", "services.orders.database=true"),
        code=2,
    )
    assert "leave one of them out" in said


def test_a_name_that_postgresql_keeps_is_refused(export, write):
    write("shop/plain/app.py", PLAIN.replace('"plain"', '"pg_plain"'))
    said = export("compose", "--set", "services.pg_plain.database=true", code=2)
    assert "rename it" in said


def test_an_export_writes_all_that_it_needs(export, project):
    export("compose", "--output", "deploy/compose.yaml")
    names = {file.name for file in (project / "deploy/secrets").iterdir()}
    assert {"orders.postgres", "postgres.sql", "postgres.pem", "postgres.key"} <= names
    assert "plain.postgres" not in names
    assert (project / "deploy/postgres.sh").is_file()
