"""Files for RabbitMQ, made of what the code of services declares."""

import json
import os
import stat
import subprocess

import pytest
from click.testing import CliRunner

from eventmesh import Context, Service, SettingsError, on
from eventmesh.brokers.rabbitmq.access.permissions import permissions
from eventmesh.cli.main import cli
from eventmesh.packaging.broker_export import rights_of, undeclared, write_broker_files


@pytest.fixture
def orders():
    service = Service("orders", calls=["stock.reserve"], emits=["order.placed"])

    @service.function(
        on.event("payment.*", broadcast=True),
        on_success="event:order.done",
        on_failure="queue:broken",
    )
    async def place(ctx: Context) -> None: ...

    @service.function(on.queue("paper"))
    async def scan(n: int) -> None: ...

    @service.function(on.queue("theirs", declare=False))
    async def read(n: int) -> None: ...

    return service


def test_rights_are_those_of_the_code(orders):
    rights = rights_of(orders)
    assert rights.functions == ("orders.place", "orders.scan", "orders.read")
    assert rights.queues == ("paper",)
    assert rights.foreign_queues == ("theirs",)
    assert rights.patterns == ("payment.*",)
    assert rights.calls[:2] == ("stock.reserve", "queue:broken")
    assert rights.emits == ("order.placed", "order.done")


def test_a_service_that_declares_nothing_calls_only_itself():
    service = Service("quiet")

    @service.function
    async def f() -> None: ...

    assert rights_of(service).calls == ("quiet.f",)


@pytest.mark.parametrize(
    ("declared", "warning"),
    [
        ({}, "can call no other service and emit no event: its code does not declare that it does"),
        ({"calls": []}, "can emit no event: its code does not declare that it does, with Service("),
        ({"emits": []}, "can call no other service: "),
        ({"calls": ["a.b"], "emits": ["x"]}, ""),
    ],
)
def test_what_is_left_open_is_refused_by_rabbitmq(declared, warning):
    text = undeclared(Service("quiet", **declared))
    assert warning in text
    assert bool(text) == bool(warning)


@pytest.mark.parametrize(
    "command", [("compose",), ("secrets", "-o", "s"), ("broker",)], ids=lambda each: each[0]
)
def test_who_exports_is_warned(write, command):
    write("hello/app.py", "from eventmesh import Service\nservice = Service('hello')\n")
    result = CliRunner().invoke(cli, ["export", *command, "hello"], prog_name="eventmesh")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("Warning: the user of 'hello' can call no other service and ")


def test_a_new_service_declares_what_it_emits(project):
    assert not CliRunner().invoke(cli, ["new", "hello"]).exit_code
    result = CliRunner().invoke(cli, ["export", "compose", "hello"])
    assert (result.exit_code, result.stderr) == (0, "")


def test_files(orders, tmp_path):
    folder = tmp_path / "broker"
    written = list(write_broker_files([rights_of(orders)], folder, "/"))
    names = {file.name for file in written}
    files = {"definitions.json", "exchanges.json", "permissions.sh"}
    assert names == {"orders", "gateway", "operator", *files}
    secret = folder / "secrets" / "orders"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(secret.parent.stat().st_mode) == 0o700
    definitions = json.loads((folder / "definitions.json").read_text())
    assert {user["name"]: user["tags"] for user in definitions["users"]} == {
        "orders": [],
        "gateway": [],
        "operator": [],
    }
    assert secret.read_text() not in (folder / "definitions.json").read_text()
    assert secret.read_text() not in (folder / "permissions.sh").read_text()


def test_secrets_stay(orders, tmp_path):
    list(write_broker_files([rights_of(orders)], tmp_path, "/"))
    before = (tmp_path / "secrets" / "orders").read_text()
    assert tmp_path / "secrets" / "orders" not in list(
        write_broker_files([rights_of(orders)], tmp_path, "/")
    )
    assert (tmp_path / "secrets" / "orders").read_text() == before


def test_a_link_in_the_place_of_a_secret_is_not_followed(orders, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "orders").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="is no file"):
        list(write_broker_files([rights_of(orders)], tmp_path, "/"))
    assert not (tmp_path / "elsewhere").exists()


RABBITMQCTL = """#!/bin/sh
echo "$*" >> {said}
case "$1 $# $2" in
"add_user 2 "*) cat >> {said} ;;
"--silent 3 import_definitions") cat "$3" >> {said} ;;
esac
"""


def test_the_script_gives_rabbitmqctl_the_secrets_by_standard_input(orders, tmp_path):
    list(write_broker_files([rights_of(orders)], tmp_path / "broker", "/"))
    program, log = tmp_path / "rabbitmqctl", tmp_path / "said"
    # As that of RabbitMQ 4: with any other number of words it reads no input.
    program.write_text(RABBITMQCTL.format(said=log))
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    script = tmp_path / "broker" / "permissions.sh"
    subprocess.run([script], env={"PATH": path}, check=True, cwd="/")
    said = log.read_text()
    assert (tmp_path / "broker" / "secrets" / "orders").read_text() in said
    assert "set_user_tags orders\n" in said
    granted = rights_of(orders)
    assert f"set_permissions -p / orders {permissions(granted).configure} " in said
    exchanges = (tmp_path / "broker" / "exchanges.json").read_text()
    assert exchanges in said
    # RabbitMQ 4.3 refuses the permissions of an exchange that is not there yet.
    of_topics = "set_topic_permissions -p / orders em.events ^$ "
    assert said.index(exchanges) < said.index(of_topics)
