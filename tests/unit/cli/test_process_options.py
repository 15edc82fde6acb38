import os

import click
import pytest
from click.testing import CliRunner

from eventmesh.cli import process_options
from eventmesh.cli.process_options import cores, read_settings, workers_option
from eventmesh.model.errors import SettingsError


@pytest.fixture
def workers():
    @click.command()
    @workers_option
    def command(*, workers):
        click.echo(workers)

    def run(*arguments, **variables):
        return CliRunner().invoke(command, arguments, env=variables)

    return run


def test_one_worker_unless_told_otherwise(workers):
    assert workers().stdout == "1\n"
    assert workers("--workers", "3").stdout == "3\n"
    assert workers(EVENTMESH_WORKERS="2").stdout == "2\n"
    assert workers("--workers", "auto").stdout == f"{cores()}\n"


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", ""])
def test_a_number_that_cannot_be(workers, text):
    result = workers("--workers", text)
    assert result.exit_code == 2
    assert "neither a number of at least 1 nor 'auto'" in result.output


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max 100000", 8), ("150000 100000", 2), ("10000 100000", 1), ("9900000 100000", 8)],
)
def test_cores_are_those_that_a_container_may_use(tmp_path, monkeypatch, limit, expected):
    file = tmp_path / "cpu.max"
    file.write_text(f"{limit}\n")
    monkeypatch.setattr(process_options, "_CGROUP_LIMIT", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores() == expected


def test_cores_without_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(process_options, "_CGROUP_LIMIT", tmp_path / "cpu.max")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()


def test_options_win_and_are_passed_on(monkeypatch):
    monkeypatch.setenv("EVENTMESH_HTTP_PORT", "80")
    monkeypatch.setenv("EVENTMESH_API", "off")
    settings, environment = read_settings({"http_port": 8081, "grace": 0.5, "broker": None})
    assert (settings.http_port, settings.grace, settings.api) == (8081, 0.5, False)
    assert environment["EVENTMESH_HTTP_PORT"] == "8081"
    assert environment["EVENTMESH_API"] == "off"
    assert "EVENTMESH_BROKER" not in environment


def test_an_option_that_cannot_be():
    with pytest.raises(SettingsError, match="EVENTMESH_BROKER"):
        read_settings({"broker": "amqp://secret@host:no-port"})
