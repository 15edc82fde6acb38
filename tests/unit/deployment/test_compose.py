import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from eventmesh.cli.main import cli
from eventmesh.deployment.compose.postgres_container import POSTGRES_SH
from eventmesh.deployment.compose.rabbitmq_container import RABBITMQ_CONF

ROOT = Path(__file__).parents[3]

JWT = "Jwt('https://id.example', 'shop', jwks='https://id.example/keys')"
OF_RABBITMQ = ["ca.pem", "rabbitmq.pem", "rabbitmq.key", "definitions.json"]

ORDERS = """
from eventmesh import Service, on

print("while it is imported")
orders = Service("orders")

@orders.function(on.get("/orders"), timeout="90.5s")
async def listed() -> None: ...

@orders.function(timeout=None)
async def count() -> None: ...
"""
QUICK = """
from eventmesh import Service

quick = Service("quick")

@quick.function(timeout=1)
async def run() -> None: ...
"""
CONFINED = {
    "read_only": True,
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "restart": "unless-stopped",
}


def confined(name):
    """The lines of each container. The command line runs once, and is not started again."""
    return CONFINED | ({"restart": "no"} if name == "operator" else {})


@pytest.fixture
def run(write):
    write("shop/orders/app.py", ORDERS)
    write("shop/tools/quick.py", QUICK)

    def run(*arguments):
        return CliRunner().invoke(cli, ["export", "compose", *arguments], prog_name="eventmesh")

    return run


@pytest.fixture
def export(run):
    """Print a compose file, and read it."""

    def export(*arguments):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        return yaml.safe_load(result.stdout)

    return export


def test_a_container_for_each_target(export, project):
    document = export("shop/orders", "shop/tools/quick.py")
    assert document["name"] == project.name.replace("_", "-")
    assert list(document["services"]) == ["rabbitmq", "gateway", "operator", "orders", "quick"]
    orders, quick = document["services"]["orders"], document["services"]["quick"]
    assert orders["image"] == "orders:${TAG:-latest}"
    assert orders["build"] == {
        "context": "./shop/orders",
        "dockerfile": "Dockerfile",
        "args": ["BASE"],
    }
    assert (orders["command"], quick["command"]) == (["run", "orders"], ["run", "tools/quick.py"])
    assert orders["depends_on"] == {"rabbitmq": {"condition": "service_healthy"}}


def test_only_the_gateway_can_be_reached_and_only_from_this_machine(export):
    services = export("shop/orders")["services"]
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert ports == {"gateway": ["127.0.0.1:${GATEWAY_PORT:-8080}:8080"]}
    for name in ("gateway", "operator"):
        assert services[name]["build"]["target"] == "gateway"
        assert services[name]["image"].endswith("-gateway:${TAG:-latest}")
    hosts = services["gateway"]["environment"]["EVENTMESH_ALLOWED_HOSTS"]
    assert hosts == "${EVENTMESH_ALLOWED_HOSTS:-localhost,127.0.0.1}"
    assert "EVENTMESH_ALLOWED_HOSTS" not in services["orders"]["environment"]


def test_what_runs_at_the_end_may_take_as_long_as_it_may_run(export):
    services = export("shop/orders", "shop/tools/quick.py")["services"]
    times = {
        name: (service["environment"]["EVENTMESH_GRACE"], service["stop_grace_period"])
        for name, service in services.items()
        if name != "rabbitmq"
    }
    # Where nothing runs longer it is the default of `eventmesh run`.
    assert times == {
        "gateway": ("25s", "35s"),
        "operator": ("25s", "35s"),
        "orders": ("91s", "101s"),
        "quick": ("25s", "35s"),
    }


def test_everything_is_confined(export):
    services = export("shop/orders", "--cpus", "0.5", "--memory", "64M")["services"]
    for name, service in services.items():
        assert {key: service[key] for key in CONFINED} == confined(name), name
    limits = {"resources": {"limits": {"cpus": "0.5", "memory": "64M"}}}
    assert [services[name]["deploy"] for name in ("gateway", "orders")] == [limits] * 2


def test_the_shop_is_confined_in_the_same_way():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, service in services.items():
        assert {key: service.get(key) for key in CONFINED} == confined(name), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
    assert [name for name, service in services.items() if "ports" in service] == ["gateway"]
    assert services["gateway"]["ports"][0].startswith("127.0.0.1:")


def test_the_shop_has_every_service():
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    dockerfiles = {
        service["build"]["dockerfile"]
        for service in document["services"].values()
        if "build" in service
    }
    assert dockerfiles == {
        file.relative_to(ROOT).as_posix() for file in (ROOT / "services").glob("*/Dockerfile")
    }


def test_each_user_has_a_secret_and_no_other(export):
    document = export("shop/orders", "shop/tools/quick.py")
    services = document["services"]
    secrets = {name: service["secrets"] for name, service in services.items()}
    assert secrets.pop("rabbitmq") == OF_RABBITMQ
    assert secrets == {
        name: [name, "ca.pem"] for name in ("gateway", "operator", "orders", "quick")
    }
    for name in secrets:
        environment = services[name]["environment"]
        assert environment["EVENTMESH_BROKER"] == (
            f"amqps://{name}@rabbitmq/?cafile=/run/secrets/ca.pem&password_file=/run/secrets/{name}"
        )
        assert environment["EVENTMESH_BROKER_USERS"] == "per-service"
        assert environment["EVENTMESH_GATEWAYS"] == "gateway,operator"
    assert document["secrets"] == {
        name: {"file": f"./secrets/{name}"}
        for name in ("orders", "quick", "gateway", "operator", *OF_RABBITMQ)
    }


def test_passwords_are_in_files_alone(run, project):
    result = run("shop/orders", "--output", "deploy/compose.yaml")
    assert result.exit_code == 0, result.output
    secrets = ("orders", "gateway", "operator", "definitions.json", "ca.key", *OF_RABBITMQ[:3])
    names = (*(f"secrets/{name}" for name in secrets), "rabbitmq.conf", "compose.yaml")
    assert result.stdout == "".join(f"wrote deploy/{name}\n" for name in names)
    for name in ("orders", "gateway", "operator"):
        password = (project / "deploy/secrets" / name).read_text()
        for file in ("compose.yaml", "rabbitmq.conf", "secrets/definitions.json"):
            assert password not in (project / "deploy" / file).read_text()


def test_rabbitmq_speaks_to_who_verifies_it_alone(export):
    rabbitmq = export("shop/orders")["services"]["rabbitmq"]
    assert (
        rabbitmq["image"] == "${RABBITMQ_IMAGE:-rabbitmq:4}"
    )  # The management plugin is another image.
    environment = rabbitmq["environment"]
    assert environment["RABBITMQ_ENABLED_PLUGINS_FILE"] == "/dev/null"
    assert environment["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert "{127,0,0,1}" in environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    settings = RABBITMQ_CONF.splitlines()
    assert "listeners.tcp = none" in settings
    assert [each for each in settings if each.startswith("listeners.ssl")]
    assert "load_definitions = /run/secrets/definitions.json" in settings


@pytest.mark.parametrize(
    ("name", "text"), [("rabbitmq.conf", RABBITMQ_CONF), ("postgres.sh", POSTGRES_SH)]
)
def test_the_shops_servers_have_the_same_settings(name, text):
    settings = yaml.safe_load((ROOT / "compose.yaml").read_text())["configs"][name]
    assert (ROOT / settings["file"]).read_text() == text


@pytest.mark.parametrize(
    ("of_service", "of_route", "extras"),
    [
        ("", "", []),
        (JWT, "", ["EXTRAS=[jwt]"]),
        ("", f"[Anyone(), {JWT}]", ["EXTRAS=[jwt]"]),
        ("Anyone()", "", []),
    ],
)
def test_what_verifies_tokens_gets_what_that_needs(export, write, of_service, of_route, extras):
    write(
        "auth/app.py",
        "from eventmesh import Service, on\nfrom eventmesh.auth import Anyone, Jwt\n"
        f"auth = Service('auth', auth={of_service or None})\n"
        f"@auth.function(on.get('/who', auth={of_route or None}))\nasync def who() -> None: ...\n",
    )
    services = export("auth", "shop/orders")["services"]
    assert services["auth"]["build"]["args"] == ["BASE", *extras]
    assert services["orders"]["build"]["args"] == services["gateway"]["build"]["args"] == ["BASE"]


def test_settings_of_rabbitmq_that_are_there_are_kept(run, write, project):
    write("rabbitmq.conf", "mine")
    assert run("shop/orders", "-o", "compose.yaml").exit_code == 0
    assert (project / "rabbitmq.conf").read_text() == "mine"


def test_secrets_are_kept_from_others_in_a_folder_that_was_there(run, project):
    secrets = project / "secrets"
    secrets.mkdir(mode=0o755)
    assert run("shop/orders", "-o", "compose.yaml").exit_code == 0
    assert secrets.stat().st_mode & 0o777 == 0o700


def test_git_ignores_secrets(run, project):
    assert run("shop/orders", "-o", "compose.yaml").exit_code == 0
    # All in the folder, and this file as well (gitignore(5)); Git is not there on every machine.
    assert (project / "secrets/.gitignore").read_text() == "*\n"


def test_a_secret_is_not_written_through_a_link(run, project):
    (project / "secrets").mkdir()
    (project / "secrets/orders").symlink_to(project / "public")
    assert run("shop/orders", "-o", "compose.yaml").exit_code == 2
    assert not (project / "public").exists()


def test_paths_are_those_from_the_file(run, project):
    assert run("shop/orders", "-o", "shop/deploy/compose.yaml").exit_code == 0
    document = yaml.safe_load((project / "shop/deploy/compose.yaml").read_text())
    assert document["services"]["orders"]["build"]["context"] == "../orders"
    assert document["name"] == "deploy"


def test_secrets_that_are_there_are_kept(run, write, project):
    write("secrets/orders", "mine")
    assert run("shop/orders", "-o", "compose.yaml").exit_code == 0
    assert (project / "secrets/orders").read_text() == "mine"


def test_nothing_is_overwritten(run, write, project):
    write("compose.yaml", "mine")
    result = run("shop/orders", "-o", "compose.yaml")
    assert result.exit_code == 2
    assert "compose.yaml exists already, and nothing was written" in result.stderr
    assert (project / "compose.yaml").read_text() == "mine"
    assert not (project / "secrets").exists()


def test_beside_a_mesh_that_runs(run, export, project):
    run("shop/orders", "-o", "shop/compose.yaml")
    document = export("shop/tools/quick.py", "--beside", "shop/compose.yaml")
    assert list(document["services"]) == ["quick"]
    assert "depends_on" not in document["services"]["quick"]
    assert document["networks"] == {
        "mesh": {"external": True, "name": "${MESH_NETWORK:-shop_mesh}"}
    }
    assert document["secrets"] == {
        "quick": {"file": "./secrets/quick"},
        "ca.pem": {"file": "./shop/secrets/ca.pem"},
    }
    assert not (project / "secrets").exists()


def test_what_joins_a_mesh_gets_a_user_and_no_authority(run, project):
    run("shop/orders", "-o", "shop/compose.yaml")
    result = run("shop/tools/quick.py", "--beside", "shop/compose.yaml", "-o", "new/compose.yaml")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "wrote new/secrets/quick\nwrote new/secrets/definitions.json\nwrote new/compose.yaml\n"
        "\nRabbitMQ learns of them with:\n  docker compose --file shop/compose.yaml exec -T "
        "rabbitmq rabbitmqctl import_definitions <new/secrets/definitions.json\n"
    )
    definitions = json.loads((project / "new/secrets/definitions.json").read_text())
    # The passwords of the other mesh's gateway and operator stay what they are.
    assert [user["name"] for user in definitions["users"]] == ["quick"]


def test_beside_the_shop(export):
    document = export("shop/tools/quick.py", "--beside", str(ROOT / "compose.yaml"))
    assert document["networks"]["mesh"]["name"] == "${MESH_NETWORK:-shop_mesh}"
    assert document["secrets"]["ca.pem"]["file"].endswith("/secrets/ca.pem")


def test_beside_a_network_of_a_fixed_name(export, write):
    write(
        "other/compose.yaml",
        "networks: {mesh: {name: the-mesh}}\nsecrets: {ca.pem: {file: authority}}",
    )
    document = export("shop/tools/quick.py", "--beside", "other/compose.yaml")
    assert document["networks"]["mesh"]["name"] == "the-mesh"
    assert document["secrets"]["ca.pem"]["file"] == "./other/authority"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("services: {}", "has no 'mesh' in 'networks', which services need to join"),
        ("networks: {mesh: }", "has no 'ca.pem' in 'secrets'"),
        (
            "networks: {mesh: }\nsecrets: {ca.pem: {environment: X}}",
            "the secret 'ca.pem' must be a file",
        ),
        ("- [", "cannot be read as a compose file"),
        ("text", "has no 'mesh'"),
    ],
)
def test_beside_a_file_that_says_no_way_in(run, write, text, reason):
    write("other.yaml", text)
    result = run("shop/orders", "--beside", "other.yaml")
    assert result.exit_code == 2
    assert "other.yaml" in result.stderr
    assert reason in result.stderr


def test_several_services_of_one_image(export, write):
    write("both/app.py", "from eventmesh import Service\na = Service('a')\nb = Service('b')\n")
    services = export("both/app.py:a", "both/app.py:b")["services"]
    assert services["a"]["command"] == ["run", "both:a"]
    assert services["b"]["command"] == ["run", "both:b"]
    assert services["a"]["image"] == services["b"]["image"]


def test_several_services_in_one_container(run, write):
    write("both/app.py", "from eventmesh import Service\na = Service('a')\nb = Service('b')\n")
    result = run("both")
    assert result.exit_code == 2
    assert "both has the services a, b, and a container logs in to RabbitMQ as the" in result.stderr


@pytest.mark.parametrize("name", ["orders", "gateway", "operator", "rabbitmq"])
def test_two_containers_of_one_name(run, write, name):
    write("other/app.py", f"from eventmesh import Service\none = Service({name!r})\n")
    result = run("shop/orders", "other")
    assert result.exit_code == 2
    assert f"two containers would be named {name!r}" in result.stderr


def test_two_images_of_one_name(run, write):
    for folder, name in (("team1/api", "one"), ("team2/api", "two")):
        write(f"{folder}/app.py", f"from eventmesh import Service\nit = Service({name!r})\n")
    result = run("team1/api", "team2/api")
    assert result.exit_code == 2
    assert "would both be named 'api', and one would replace the other" in result.stderr


def test_a_dollar_sign_in_a_path_is_no_variable(run, write, project):
    write("a$b/one/app.py", "from eventmesh import Service\nit = Service('one')\n")
    for arguments in (("--output",), ("--beside", "a$b/compose.yaml", "--output")):
        folder = "c$d" if "--beside" in arguments else "a$b"
        (project / folder).mkdir(exist_ok=True)
        result = run("a$b/one", *arguments, f"{folder}/compose.yaml")
        assert result.exit_code == 0, result.output
    document = yaml.safe_load((project / "c$d/compose.yaml").read_text())
    assert document["services"]["one"]["build"]["context"] == "../a$$b/one"
    assert document["secrets"]["ca.pem"]["file"] == "../a$$b/secrets/ca.pem"


def test_a_variable_in_the_path_of_a_secret_stays_one(export, write):
    text = "networks: {mesh: }\nsecrets: {ca.pem: {file: '${SECRETS:-secrets}/ca'}}"
    write("other/compose.yaml", text)
    document = export("shop/tools/quick.py", "--beside", "other/compose.yaml")
    assert document["secrets"]["ca.pem"]["file"] == "./other/${SECRETS:-secrets}/ca"
