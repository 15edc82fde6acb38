import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from eventmesh.cli.main import COMMANDS, cli
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    DeclarationError,
    FunctionError,
    FunctionNotFound,
    InvocationTimeout,
    PayloadInvalid,
    PayloadTooLarge,
    SettingsError,
    Throttled,
)
from eventmesh.processes.exit_codes import ExitCode

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


@pytest.fixture
def run():
    def run(*arguments, **options):
        return CliRunner().invoke(cli, arguments, prog_name="eventmesh", **options)

    return run


@pytest.fixture
def run_raising(run, monkeypatch):
    """Run a command that raises what is given."""

    def run_raising(error, *options):
        @click.command()
        def command():
            raise error

        module = ModuleType("list")
        vars(module)["command"] = command
        monkeypatch.setitem(sys.modules, "eventmesh.cli.commands.list", module)
        return run(*options, "list")

    return run_raising


def test_every_command_explains_itself(run):
    for name in COMMANDS:
        result = run(name, "--help")
        assert result.exit_code == 0, name
        assert result.stdout.startswith(f"Usage: eventmesh {name} ")


def test_help_names_every_command_and_exit_code(run):
    shown = run("--help").stdout
    assert all(f"  {name} " in shown for name in COMMANDS)
    assert all(f"\n    {code}  " in shown for code in ExitCode)


def test_the_documentation_has_every_exit_code():
    documented = re.findall(r"^\| (\d+) \|", DOCS.read_text(), re.MULTILINE)
    assert [int(code) for code in documented] == list(ExitCode)


def test_help_imports_neither_a_library_nor_a_command():
    # What is imported decides how long it takes; click alone is needed.
    code = (
        "import sys; sys.argv = ['eventmesh', '--help']\n"
        "import eventmesh.cli\n"
        "try: eventmesh.cli.main()\n"
        "finally: print(*sorted(name.partition('.')[0] for name in sys.modules), file=sys.stderr)"
    )
    imported = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stderr.split()
    assert "click" in imported
    for library in ("aiohttp", "asyncio", "orjson", "prometheus_client", "pydantic", "rich"):
        assert library not in imported


def test_the_version(run):
    assert run("--version").stdout == f"eventmesh, version {version('eventmesh')}\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FunctionError("ValueError", "no such customer"), 1),
        (DeclarationError("it cannot be"), 2),
        (SettingsError("it cannot be"), 2),
        (PayloadInvalid("the payload does not fit"), 2),
        (PayloadTooLarge(7, 6), 2),
        (FunctionNotFound("orders.place"), 3),
        (AccessDenied("not for you"), 3),
        (Throttled("orders.place is busy", 2), 4),
        (BrokerUnavailable("nothing answers"), 4),
        (InvocationTimeout("it took too long"), 5),
        (ExceptionGroup("several", [ExceptionGroup("", [SettingsError("in a group")])]), 2),
    ],
)
def test_a_kind_of_error_has_its_exit_code(run_raising, error, code):
    result = run_raising(error)
    assert result.exit_code == code
    assert result.stdout == ""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    assert result.stderr.splitlines()[0] == f"Error: {error}"


def test_what_was_not_foreseen_says_how_to_see_more(run_raising):
    result = run_raising(KeyError("x"))
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: KeyError: 'x'\n")
    assert "eventmesh --debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback(run_raising, monkeypatch):
    assert "Traceback (most recent call last)" in run_raising(KeyError("x"), "--debug").stderr
    monkeypatch.setenv("EVENTMESH_DEBUG", "1")
    assert "Traceback (most recent call last)" in run_raising(SettingsError("x")).stderr


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, click.Abort])
def test_interrupted(run_raising, interruption):
    result = run_raising(interruption())
    assert result.exit_code == 130
    assert (result.stdout, result.stderr) == ("", "Interrupted.\n")


def test_an_unknown_command(run):
    result = run("explode")
    assert result.exit_code == 2
    assert "No such command 'explode'" in result.stderr


def test_a_setting_that_cannot_be(run, monkeypatch):
    monkeypatch.setenv("EVENTMESH_URL", "nonsense")
    result = run("invoke", "orders.place")
    assert result.exit_code == 2
    assert "EVENTMESH_URL (not shown" in result.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion(run, shell):
    script = run("completion", shell).stdout
    assert "_EVENTMESH_COMPLETE" in script
    assert shell in script


def test_commands_complete(run):
    environment = {
        "_EVENTMESH_COMPLETE": "zsh_complete",
        "COMP_WORDS": "eventmesh in",
        "COMP_CWORD": "1",
    }
    completed = run(env=environment).stdout.split("\n")
    assert completed[:2] == ["plain", "invoke"]
