"""`eventmesh token`."""

import json

import pytest
from click.testing import CliRunner

from eventmesh.cli.main import cli


@pytest.fixture
def file(tmp_path):
    return tmp_path / "credentials"


@pytest.fixture
def token(file, monkeypatch):
    monkeypatch.setenv("EVENTMESH_AUTH_FILE", str(file))
    return lambda *arguments: CliRunner().invoke(cli, ["token", *arguments], prog_name="eventmesh")


def test_a_token_is_shown_once(token, file):
    made = token("create", "ci", "--scope", "send", "--scope", "emit", "--expires", "90d")
    assert made.exit_code == 0, made.output
    text = made.stdout.strip()
    assert text.startswith("em_")
    assert text not in file.read_text()
    (listed,) = json.loads(token("list", "--json").stdout)
    assert listed["principal"] == "token:ci"
    assert listed["scopes"] == ["emit", "send"]
    assert listed["expires"] - listed["created"] == pytest.approx(90 * 86400, abs=1)
    assert text not in token("list").stdout


def test_an_access_key_is_that_of_the_tools_of_aws(token):
    made = json.loads(token("create", "--access-key", "--scope", "invoke").stdout)
    assert set(made) == {"access_key_id", "secret_access_key"}
    (listed,) = json.loads(token("list", "--json").stdout)
    assert listed["principal"] == f"key:{made['access_key_id']}"
    assert made["secret_access_key"] not in token("list").stdout


def test_revoked_is_gone(token):
    token("create", "ci")
    key = json.loads(token("create", "--access-key").stdout)["access_key_id"]
    assert token("revoke", "ci").stdout == "revoked ci\n"
    assert token("revoke", key).exit_code == 0
    assert json.loads(token("list", "--json").stdout) == []


def test_one_that_is_not_there_cannot_be_revoked(token):
    token("create", "ci")
    result = token("revoke", "cd")
    assert result.exit_code == 2
    assert "has no token or access key 'cd'" in result.stderr


def test_two_of_one_name_are_refused(token):
    token("create", "ci")
    result = token("create", "ci")
    assert result.exit_code == 2
    assert "there is a token 'ci' already" in result.stderr


@pytest.mark.parametrize("arguments", [["create"], ["create", "ci", "--access-key"]])
def test_a_token_or_a_key(token, arguments):
    result = token(*arguments)
    assert result.exit_code == 2
    assert "give the NAME of a token, or --access-key" in result.stderr


def test_the_file_has_to_be_named(token, monkeypatch):
    monkeypatch.delenv("EVENTMESH_AUTH_FILE")
    result = token("list")
    assert result.exit_code == 2
    assert "EVENTMESH_AUTH_FILE" in result.stderr
