"""What each export has for one shop; test_agreement.py compares them."""

import pytest
import yaml
from click.testing import CliRunner

from eventmesh.cli.main import cli

SHOP = """
from eventmesh import Service, on

orders = Service("orders", calls=[], emits=[])

@orders.function(on.post("/orders"), timeout=60)
async def place() -> None: ...
"""


@pytest.fixture
def export(write):
    write("shop/orders/app.py", SHOP)

    def export(kind, *arguments, code=0):
        result = CliRunner().invoke(cli, ["export", kind, "shop/orders", *arguments])
        assert result.exit_code == code, result.output
        return result.stderr if code else result.stdout

    return export


def test_a_stack(export, project):
    document = yaml.safe_load(
        export("swarm", "--set", "count=2", "--set", "registry=r.example", "--set", "name=shop")
    )
    services = document["services"]
    assert services["orders"]["image"] == "r.example/orders:${TAG:-latest}"
    assert services["gateway"]["ports"] == [{"target": 8080, "published": 8080, "mode": "host"}]
    orders, gateway = services["orders"]["deploy"], services["gateway"]["deploy"]
    assert (orders["replicas"], orders["endpoint_mode"]) == (2, "dnsrr")
    assert orders["update_config"]["order"] == "start-first"
    assert orders["update_config"]["failure_action"] == "rollback"
    # Two of them would want one port of the machine.
    assert gateway["update_config"]["order"] == "stop-first"
    assert services["operator"]["deploy"]["replicas"] == 0
    assert services["orders"]["healthcheck"]["test"] == ["CMD", "eventmesh", "health"]
    assert services["rabbitmq"]["deploy"]["placement"] == {
        "constraints": ["node.labels.rabbitmq == true"]
    }
    for service in services.values():
        assert not {"build", "depends_on", "profiles", "restart"} & set(service)
    assert document["secrets"]["orders"] == {
        "name": "shop-orders-${REVISION:-1}",
        "file": "./secrets/orders",
    }
    assert document["networks"]["mesh"]["driver"] == "overlay"


def test_a_stack_that_is_written_has_its_secrets_beside_it(export, project):
    told = export("swarm", "--output", "deploy/stack.yaml")
    assert "docker stack deploy --compose-file deploy/stack.yaml deploy" in told
    assert (project / "deploy/secrets/orders").is_file()
    assert (project / "deploy/rabbitmq.conf").is_file()


@pytest.mark.parametrize("kind", ["compose", "swarm"])
def test_what_may_not_reach_the_outside_is_in_a_network_that_leads_nowhere(export, kind):
    document = yaml.safe_load(export(kind, "--set", "egress=false", "--set", "gateway.egress=true"))
    assert document["networks"]["mesh"]["internal"] is True
    services = document["services"]
    assert services["orders"]["networks"] == ["mesh"]
    assert services["gateway"]["networks"] == ["mesh", "outside", "front"]
    closed = yaml.safe_load(export(kind, "--set", "egress=false"))
    assert set(closed["networks"]) == {"mesh", "front"}


def test_several_nodes_of_rabbitmq_need_what_joins_them(export):
    for kind in ("compose", "swarm"):
        assert "deploy.rabbitmq.nodes=3" in export(kind, "--set", "rabbitmq.nodes=3", code=2)


def test_units(export, project):
    told = export(
        "systemd", "--set", "broker=amqps://mq.example/a%2Fb", "--set", "name=shop", "-o", "units"
    )
    assert told == ("wrote units/shop-gateway@.service\nwrote units/shop-orders@.service\n")
    unit = (project / "units/shop-orders@.service").read_text().splitlines()
    for line in (
        'ExecStart=/opt/shop/venv/bin/eventmesh "run" "orders"',
        'Environment="EVENTMESH_BROKER=amqps://orders@mq.example/a%%2Fb?password_file=%d/orders"',
        'Environment="EVENTMESH_GRACE=60s"',
        "TimeoutStopSec=70",
        "LoadCredential=orders:/etc/eventmesh/orders",
        "MemoryMax=268435456",
        "CPUQuota=100%",
        "DynamicUser=yes",
        "KillMode=mixed",
    ):
        assert line in unit


def test_units_are_not_overwritten_and_join_a_mesh(export, write):
    write("units/x-orders@.service", "mine")
    arguments = ("--set", "name=x", "-o", "units")
    assert "say where its RabbitMQ is" in export("systemd", *arguments, code=2)
    told = export("systemd", *arguments, "--set", "broker=amqps://mq.example", code=2)
    assert "units/x-orders@.service exists already, and nothing was written" in told
