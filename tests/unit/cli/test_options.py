"""Options that several commands share."""

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli


@pytest.mark.parametrize("command", [["invoke", "shop.add", "{}"], ["ps", "--wait", "0"]])
@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("amqp://ada:hush@127.0.0.1:1/", True),
        ("amqp://ada:hu:sh@127.0.0.1:1/", True),
        ("other://ada:hush@127.0.0.1:1", True),
        ("amqp://guest:guest@127.0.0.1:1/", False),
        ("amqp://ada@127.0.0.1:1/a:b@c", False),
        ("amqp://127.0.0.1:1/", False),
    ],
)
def test_a_password_that_others_see_is_warned_of(command, url, warned, monkeypatch):
    monkeypatch.setattr("eventmesh.client.mesh.MESH_CONNECT_SECONDS", 0.1)
    monkeypatch.setattr("eventmesh.client.client.CLIENT_CONNECT_SECONDS", 0.1)
    result = CliRunner().invoke(cli, [*command, "--broker", url], prog_name="eventmesh")
    assert ("Warning: every user of this machine" in result.stderr) == warned
    assert "hush" not in result.output


def test_a_password_in_a_variable_is_not_warned_of(monkeypatch):
    monkeypatch.setenv("EVENTMESH_BROKER", "amqp://ada:hush@127.0.0.1:1/")
    monkeypatch.setattr("eventmesh.client.client.CLIENT_CONNECT_SECONDS", 0.1)
    result = CliRunner().invoke(cli, ["invoke", "shop.add", "{}"], prog_name="eventmesh")
    assert "Warning" not in result.output
