"""What messages and other processes say is printed without control characters."""

import pytest

from eventmesh.cli.error_report import print_error
from eventmesh.cli.text.dead_letters import dead_letter_table, dead_letter_text
from eventmesh.cli.text.output import print_table
from eventmesh.engine.upkeep.dead_letters import DeadLetter
from eventmesh.model.errors import FunctionError

TITLE = "\x1b]0;owned\x07"
CLIPBOARD = "\x1b]52;c;eA==\x07"


@pytest.fixture
def letter():
    return DeadLetter(
        id=f"7{TITLE}",
        function="shop.pay",
        reason="failed",
        error_type="ValueError",
        error_message=f"no{CLIPBOARD}\nSecond: line",
        traceback=f"Traceback\n  line {TITLE}",
        attempts=3,
        redeliveries=1,
        created=0.0,
        first_failure=0.0,
        last_failure=0.0,
        trigger="invoke",
        content_type="text/plain",
        headers={f"note{TITLE}\n": CLIPBOARD},
        payload=f"{CLIPBOARD}\x9b2J".encode(),
    )


def harmless(text):
    return not [each for each in text if not each.isprintable() and each not in "\t\n"]


def test_a_dead_letter_controls_no_terminal(letter):
    text = dead_letter_text(letter)
    assert harmless(text)
    assert r"\x1b]52;c;eA==\x07" in text
    assert not any(line.startswith("Second") for line in text.splitlines())


def test_a_table_controls_no_terminal(letter, capsys):
    print_table(dead_letter_table([letter]))
    printed = capsys.readouterr().out
    assert harmless(printed)
    assert r"7\x1b]0;owned" in printed


@pytest.mark.parametrize("debug", [False, True])
def test_an_error_controls_no_terminal(debug, capsys):
    print_error(FunctionError("ValueError", CLIPBOARD), debug=debug)
    printed = capsys.readouterr().err
    assert harmless(printed)
    assert r"\x1b]52;c;eA==\x07" in printed
