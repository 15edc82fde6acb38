import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli
from eventmesh.deployment.config_file import read_config
from eventmesh.deployment.model import MONITORING, OUTSIDE, Connection
from eventmesh.deployment.plan import load_deployment
from eventmesh.model.errors import SettingsError
from eventmesh.targets.parse import read_target

ORDERS = """
from eventmesh import Service, on

orders = Service("orders", calls=["stock.reserve"], emits=["order.placed"])

@orders.function(on.post("/orders"), timeout=60, concurrency=20)
async def place() -> None: ...

@orders.function(on.queue("invoices", batch=50), concurrency=2, reserved_concurrency=1)
async def bill(items: list[str]) -> None: ...
"""
STOCK = """
from eventmesh import Service, on

stock = Service("stock", calls=[], emits=[])

@stock.function(on.event("order.#"), concurrency=10)
async def reserve(order: str) -> None: ...
"""


@pytest.fixture
def plan(write):
    write("shop/orders/app.py", ORDERS)
    write("shop/stock/app.py", STOCK)

    def plan(*settings, targets=("shop/orders", "shop/stock"), joins=False):
        found = [read_target(each) for each in targets]
        return load_deployment(found, read_config(None, settings), "shop", joins=joins)

    return plan


def named(deployment, name):
    return next(each for each in deployment.running if each.name == name)


def test_what_the_code_says(plan):
    deployment = plan()
    orders = named(deployment, "orders")
    assert (orders.task.grace, orders.task.stop_timeout) == (60, 70)
    assert orders.task.command == ("run", "orders")
    assert orders.rights.queues == ("invoices",)
    assert [each.user for each in deployment.permissions] == [
        "orders",
        "stock",
        "gateway",
        "operator",
    ]
    assert deployment.warnings == ()


def test_one_task_is_right_for_what_it_works_off_in_time(plan):
    def backlogs(*settings):
        queues = named(plan(*settings), "orders").scaling.queues
        return {each.queue: each.backlog for each in queues}

    assert backlogs() == {
        "em.inbox.orders.place": 20,
        "em.rpc.orders.place": 20,
        "em.inbox.orders.bill": 1,
        "em.rpc.orders.bill": 1,
        "invoices": 50,
    }
    # Who waits takes one slot at most, however long it will run.
    assert backlogs("services.orders.duration=3s")["em.inbox.orders.place"] == 20
    # 20 at once of 0.5 s each are 40 a second, and those who wait may wait for 5 s.
    slower = backlogs("services.orders.latency=5s", "services.orders.duration=500ms")
    assert slower["em.inbox.orders.place"] == 200
    assert slower["invoices"] == 500


def test_bounds_lie_around_the_count(plan):
    deployment = plan("count=3", "services.stock.count=20", "services.orders.maximum=5")
    found = {
        each.name: (each.scaling.minimum, each.count, each.scaling.maximum)
        for each in deployment.running
    }
    assert found == {"gateway": (3, 3, 10), "orders": (3, 3, 5), "stock": (20, 20, 20)}


def test_what_nothing_keeps_awake_may_be_none(plan):
    deployment = plan("services.stock.minimum=0", "services.stock.count=0")
    assert (named(deployment, "stock").count, named(deployment, "stock").scaling.minimum) == (0, 0)
    # `eventmesh autoscale` stands in for it meanwhile.
    assert named(plan("services.orders.minimum=0"), "orders").scaling.minimum == 0
    with pytest.raises(SettingsError, match="gateway cannot be scaled to zero"):
        plan("gateway.minimum=0")


@pytest.mark.parametrize(
    ("trigger", "takes", "reason"),
    [
        ("on.every('1m')", "", "the timer of audit.run"),
        ("on.event('order.*', broadcast=True)", "order: str", "the broadcast events of audit.run"),
    ],
)
def test_what_only_a_running_process_does_keeps_one(plan, write, trigger, takes, reason):
    write(
        "audit/app.py",
        "from eventmesh import Service, on\naudit = Service('audit', calls=[], emits=[])\n"
        f"@audit.function({trigger})\nasync def run({takes}) -> None: ...\n",
    )
    with pytest.raises(SettingsError, match=f"cannot be scaled to zero: one runs for {reason}"):
        plan("minimum=0", "gateway.minimum=1", targets=["audit"])


def test_what_may_connect_to_what(plan):
    connections = set(plan("egress=false", "services.stock.egress=true").connections())
    users = ("gateway", "operator", "orders", "stock")
    assert connections == {
        Connection(OUTSIDE, "gateway", 8080),
        Connection("stock", OUTSIDE, 0),
        *(Connection(MONITORING, name, 9464) for name in users if name != "operator"),
        *(Connection(name, "rabbitmq", 5671) for name in users),
    }


def test_a_broker_of_yours(plan):
    deployment = plan("broker=amqps://mq.example:5700/the%20shop")
    environment = deployment.environment(named(deployment, "stock").task, "/secrets")
    assert environment["EVENTMESH_BROKER"] == (
        "amqps://stock@mq.example:5700/the%20shop?password_file=/secrets/stock"
    )
    assert not deployment.broker.own
    private = plan("broker=amqps://mq.example", "private_authority=true")
    assert "cafile=/run/secrets/ca.pem&" in private.broker.url("stock")


def test_a_store_is_a_secret_of_one_service(plan):
    deployment = plan("services.orders.store=orders-db", 'services.orders.secrets=["stripe"]')
    orders, stock = named(deployment, "orders"), named(deployment, "stock")
    assert [each.name for each in orders.task.secrets] == [
        "orders",
        "ca.pem",
        "orders-db",
        "stripe",
    ]
    assert [each.name for each in stock.task.secrets] == ["stock", "ca.pem"]
    environment = deployment.environment(orders.task)
    assert environment["EVENTMESH_STORE_FILE"] == "/run/secrets/orders-db"
    assert orders.task.image.extras == ("sql",)


def test_what_joins_a_mesh_brings_no_door(plan):
    deployment = plan(joins=True)
    assert (deployment.gateway, deployment.operator) == (None, None)
    assert [each.user for each in deployment.permissions] == ["orders", "stock"]


def test_instances_that_need_more_than_their_task_has(plan, write):
    write(
        "big/app.py",
        "from eventmesh import Service\nbig = Service('big', calls=[], emits=[])\n"
        "@big.function(isolation='process', memory='200M', instances=2)\n"
        "async def run() -> None: ...\n",
    )
    (warning,) = plan(targets=["big"]).warnings
    assert "'big' may take 400 MiB together, and its task has 256 MiB" in warning
    assert plan("services.big.memory=512M", targets=["big"]).warnings == ()


def test_how_broker_and_store_are_used_is_set_as_in_any_environment(plan):
    given = {
        "EVENTMESH_STORE_KEEP": "7d",
        "EVENTMESH_STORE_MIGRATE": "never",
        "EVENTMESH_BROKER_CLUSTER": "no",
    }
    deployment = plan(*(f"environment.{name}={text}" for name, text in given.items()))
    environment = deployment.environment(named(deployment, "orders").task)
    assert given.items() <= environment.items()


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("services.nobody.count=1", "deploy.services.nobody: there is no such service among"),
        ("services.orders.colour=red", "deploy.services.orders.colour: there is no such key"),
        ("services.orders.count=-1", "deploy.services.orders.count: Input should be greater"),
        ("services.orders.latency=soon", "deploy.services.orders.latency: it cannot be 'soon'"),
        ("memory=much", "deploy.memory: size='much' is no size"),
        ("memory=1M", "deploy.memory: Input should be greater than or equal"),
        ("name=The Shop", "deploy.name: String should match"),
        ("broker=http://mq.example", "deploy: broker: write amqps://HOST:PORT/VHOST"),
        ("broker=amqps://u:secret@mq.example", "leave out user, password and options"),
        ("broker=amqps://a.example,b.example", "write one name, which stands for all nodes"),
        ("rabbitmq.nodes=2", "deploy.rabbitmq: nodes: an even number of nodes"),
        ("environment.EVENTMESH_GRACE=1s", "EVENTMESH_GRACE follows from the deployment"),
        ("environment.EVENTMESH_STORE=sqlite:///a", "EVENTMESH_STORE follows from the deployment"),
        ("environment.EVENTMESH_STORE_FILE=/a", "EVENTMESH_STORE_FILE follows from the deployment"),
        ("environment.EVENTMESH_BROKER_USERS=shared", "EVENTMESH_BROKER_USERS follows from the"),
        ("environment.EVENTMESH_SECRETS_1=a", "EVENTMESH_SECRETS_1 follows from the deployment"),
        ("environment.a-b=1", "'a-b' is not the name of a variable"),
        ("count", "'count' is not a setting: write KEY=VALUE"),
        ("tag.a=1", "deploy.tag: Input should be a valid string"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(plan, setting, reason):
    with pytest.raises(SettingsError) as error:
        plan(setting)
    assert reason in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[deploy", "is not TOML"),
        ("deploy = 1", "must be a table"),
        ("[deploy]\nmemory = '1M'", "eventmesh.toml: deploy.memory: "),
    ],
)
def test_a_file_that_is_wrong(plan, write, text, reason):
    write("eventmesh.toml", text)
    with pytest.raises(SettingsError, match="eventmesh") as error:
        plan()
    assert reason in str(error.value)


def test_what_is_set_is_over_what_the_file_has(plan, write):
    write(
        "eventmesh.toml",
        "[deploy]\nname = 'store'\ncpus = 2\n[deploy.services.stock]\ncpus = 0.5\nmemory = '1G'\n",
    )
    deployment = plan("services.stock.memory=64M")
    stock = named(deployment, "stock").task
    assert (deployment.name, stock.cpus, stock.memory) == ("store", 0.5, 64 * 2**20)
    assert named(deployment, "orders").task.cpus == 2


def test_bounds_that_contradict(plan):
    with pytest.raises(SettingsError, match="minimum=5 is more than maximum=4"):
        plan("minimum=5", "maximum=4")
    with pytest.raises(SettingsError, match="count=9 is not between minimum=1 and maximum=4"):
        plan("count=9", "minimum=1", "maximum=4")


def test_compose_takes_it_over(plan, write):
    write("eventmesh.toml", "[deploy]\nregistry = 'images.example/shop'\ntag = '7'\n")
    result = CliRunner().invoke(
        cli, ["export", "compose", "shop/stock", "--set", "services.stock.count=3"]
    )
    assert result.exit_code == 0, result.output
    assert "image: images.example/shop/stock:${TAG:-7}" in result.stdout
    assert "replicas: 3" in result.stdout
    two = CliRunner().invoke(cli, ["export", "compose", "shop/stock", "--set", "gateway.count=2"])
    assert two.exit_code == 2
    assert "deploy.gateway.count=2" in two.stderr
