"""What is told of code that does not run."""

import json
import signal

import pytest

from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.processes.dev.failure import (
    MAX_MESSAGE,
    MAX_TRACEBACK,
    describe_end,
    describe_failure,
    noted_failure,
)
from eventmesh.processes.dev.folder import DevFolder
from eventmesh.targets.parse import read_target
from eventmesh.targets.services import load_services


def way_to_cause(told):
    """The lines of the root cause. What comes after it is of this test, which is a user's too."""
    return told["traceback"].split("\n\n")[0].splitlines()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Load the files of a module, and return what is told of the error; line by line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def load(**files):
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises((SettingsError, DeclarationError)) as raised:
            load_services([read_target(f"{next(iter(files))}.py")])
        return describe_failure(raised.value)

    return load


def test_code_that_is_no_python(load):
    told = load(no_python="x = 1\ndef broken(:\n")
    assert told["kind"] == "failed"
    assert told["type"] == "SyntaxError"
    assert told["message"] == "no_python.py cannot be imported: SyntaxError: invalid syntax"
    assert (told["file"], told["line"]) == ("no_python.py", 2)
    assert way_to_cause(told) == [
        "no_python.py:2",
        "  def broken(:",
        "             ^",
        "SyntaxError: invalid syntax",
    ]


def test_an_import_that_fails_in_another_module(load):
    told = load(
        outer_target="import inner_of_target\n", inner_of_target="\ndef f():\n    1 / 0\nf()\n"
    )
    assert told["type"] == "ZeroDivisionError"
    assert (told["file"], told["line"]) == ("inner_of_target.py", 3)
    assert way_to_cause(told) == [
        "outer_target.py:1, in <module>",
        "  import inner_of_target",
        "inner_of_target.py:4, in <module>",
        "  f()",
        "inner_of_target.py:3, in f",
        "  1 / 0",
        "ZeroDivisionError: division by zero",
    ]


def test_a_wrong_declaration(load):
    told = load(
        declared_wrongly=(
            "from eventmesh import Service\n"
            "s = Service('s')\n"
            "@s.function(timeout=-1)\n"
            "async def f() -> None: ...\n"
        )
    )
    assert told["type"] == "DeclarationError"
    assert told["message"].startswith("timeout cannot be -1")
    assert (told["file"], told["line"]) == ("declared_wrongly.py", 3)
    # No line of eventmesh is in it.
    assert way_to_cause(told)[-3:] == [
        "declared_wrongly.py:3, in <module>",
        "  @s.function(timeout=-1)",
        f"DeclarationError: {told['message']}",
    ]


def test_an_error_without_a_line_of_the_user():
    told = describe_failure(SettingsError("the port is taken"))
    assert (told["message"], told["file"], told["line"], told["traceback"]) == (
        "the port is taken",
        "",
        0,
        "",
    )


def test_the_first_of_a_group_and_its_notes():
    error = ValueError("first")
    error.add_note("This was raised while a resource was opened.")
    told = describe_failure(ExceptionGroup("all", [ExceptionGroup("some", [error]), KeyError()]))
    assert told["type"] == "ValueError"
    assert told["message"] == "first\nThis was raised while a resource was opened."


def test_what_is_told_is_bounded_and_can_be_written(load):
    told = load(hostile_error=f"raise ValueError({'x' * 99_999!r} + chr(0xD800))\n")
    assert len(told["message"]) == MAX_MESSAGE
    assert len(told["traceback"]) == MAX_TRACEBACK
    assert json.dumps(told, ensure_ascii=False).encode()
    assert describe_failure(ValueError(chr(0xD800)))["message"] == "?"


def test_how_a_process_ended():
    assert "its exit code is 3" in describe_end(3)["message"]
    assert "SIGKILL ended it" in describe_end(-signal.SIGKILL)["message"]
    assert "signal 250 ended it" in describe_end(-250)["message"]


def test_an_error_is_noted_and_goes_on(tmp_path):
    folder = DevFolder(tmp_path)
    with pytest.raises(ValueError, match="wrong"), noted_failure(folder):
        raise ValueError("wrong")
    assert folder.take_failure()["message"] == "wrong"
    assert folder.take_failure() is None
    with pytest.raises(ValueError, match="wrong"), noted_failure(None):
        raise ValueError("wrong")
