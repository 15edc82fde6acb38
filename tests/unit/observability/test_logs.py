import io
import json
import logging
import re
import sys
import uuid
from datetime import datetime

import pytest

from eventmesh.model.errors import SettingsError
from eventmesh.observability.logs import configure_logging


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def line(stream):
    (only,) = stream.getvalue().splitlines()
    return json.loads(only)


def fail():
    raise ValueError("no such card")


def test_json_is_one_object_a_line():
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    logging.getLogger("shop").warning("order %s", 7, extra={"tenant": "blue", "tries": 2})
    written = line(stream)
    assert list(written) == ["timestamp", "level", "logger", "message", "tenant", "tries"]
    assert written["timestamp"].endswith("Z")
    assert datetime.fromisoformat(written.pop("timestamp")).utcoffset().total_seconds() == 0
    assert written == {
        "level": "WARNING",
        "logger": "shop",
        "message": "order 7",
        "tenant": "blue",
        "tries": 2,
    }


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_exception_is_shown_with_its_traceback(style):
    stream = io.StringIO()
    configure_logging(style, stream=stream)
    try:
        fail()
    except ValueError:
        logging.getLogger("shop").exception("failed")
    text = line(stream)["exception"] if style == "json" else stream.getvalue()
    assert "Traceback (most recent call last):" in text
    assert text.rstrip().endswith("ValueError: no such card")


def test_a_traceback_that_comes_as_text_is_shown():
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    logger = logging.getLogger("shop")
    record = logger.makeRecord("shop", logging.ERROR, "", 0, "failed", (), None)
    record.exc_text = "Traceback of elsewhere"
    logger.handle(record)
    assert line(stream)["exception"] == "Traceback of elsewhere"


@pytest.mark.parametrize(
    ("field", "written"),
    [
        (uuid.UUID(int=0), "00000000-0000-0000-0000-000000000000"),
        ({1: "a"}, {"1": "a"}),
        (2**70, 2**70),
        ("half \ud800 a pair", "half \ud800 a pair"),
    ],
)
def test_no_record_is_lost_for_what_is_put_into_it(field, written):
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    logging.getLogger("shop").info("something", extra={"field": field})
    assert line(stream)["field"] == written


def test_no_field_takes_the_place_of_what_every_line_has():
    stream = io.StringIO()
    configure_logging("json", stream=stream)
    logging.getLogger("shop").info("said", extra={"level": "made up", "logger": "made up"})
    written = line(stream)
    assert (written["level"], written["logger"]) == ("INFO", "shop")


def test_text_is_a_line_with_the_fields_that_the_message_does_not_tell():
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    fields = {"invocation_id": "4fd0", "note": "two\nlines", "outcome": "success"}
    logging.getLogger("shop").info("done", extra=fields)
    (only,) = stream.getvalue().splitlines()
    assert only.endswith("INFO     shop: done invocation_id=4fd0 note='two\\nlines'")


@pytest.mark.parametrize("style", ["auto", "text"])
def test_a_terminal_gets_colours(style):
    terminal = Terminal()
    configure_logging(style, stream=terminal)
    logging.getLogger("shop").info("order [bold]7[/bold]", extra={"invocation_id": "4fd0"})
    assert "\x1b[" in terminal.getvalue()
    assert "bold" in terminal.getvalue()
    assert "4fd0" in terminal.getvalue()


def test_a_terminal_has_room_for_a_short_name_of_the_invocation(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    configure_logging("text", stream=terminal)
    fields = {"function": "orders.place", "trigger": "http", "trace_id": "af76", "amount": 7}
    for id, attempt in (("118b61cf81977dfdafecd7543e60754e", 1), ("invoice-2026-0001", 2)):
        extra = {"invocation_id": id, "attempt": attempt, **fields}
        logging.getLogger("shop").info("charging\nmore", extra=extra)
    written = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    first, more, second, _ = [line.rstrip() for line in written.splitlines()]
    assert first.endswith("charging amount=7 (orders.place 118b61cf)")
    assert more.strip() == "more"
    assert second.endswith("charging amount=7 (orders.place invoice-2026-0001 attempt 2)")


def end_invocation(error=None):
    """Log the end of an invocation, as the middleware does."""
    level = logging.ERROR if error else logging.INFO
    outcome = "function_error" if error else "success"
    message = f"orders.place: {outcome} in 1.5 ms{error or ''}"
    fields = {"outcome": outcome, "duration_ms": 1.5, "function": "orders.place", "attempt": 1}
    extra = {"invocation_id": "118b61cf81977dfdafecd7543e60754e", **fields}
    logging.getLogger("eventmesh.invocations").log(level, message, extra=extra)


def test_a_terminal_names_the_function_of_an_ended_invocation_once(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    configure_logging("text", stream=terminal)
    end_invocation()
    end_invocation(": ValueError: no such card")
    assert "\x1b[32msuccess\x1b[0m" in terminal.getvalue()
    assert "\x1b[1;31mfunction_error\x1b[0m" in terminal.getvalue()
    written = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    first, second = [line.rstrip() for line in written.splitlines()]
    assert first.endswith("INFO     orders.place: success in 1.5 ms (118b61cf)")
    assert second.endswith(
        "orders.place: function_error in 1.5 ms: ValueError: no such card (118b61cf)"
    )


def test_a_terminal_shows_a_request_by_its_line_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    configure_logging("text", stream=terminal)
    fields = {"method": "GET", "path": "/", "status": 200, "bytes": 7, "remote": "127.0.0.1"}
    logging.getLogger("eventmesh.access").info("GET / 200", extra={"invocation_id": "7"} | fields)
    written = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert written.rstrip().endswith("INFO     GET / 200 (7)")


def test_no_color_is_heeded(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    configure_logging("text", stream=terminal)
    end_invocation()
    # It asks for no colours; bold and dim are none.
    assert not re.search(r"\x1b\[(\d+;)*3\d", terminal.getvalue())
    assert "orders.place: success in 1.5 ms" in re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


def test_a_line_of_text_names_the_function_of_an_ended_invocation_once():
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    end_invocation()
    (only,) = stream.getvalue().splitlines()
    assert only.count("orders.place") == 1
    assert only.endswith("invocation_id=118b61cf81977dfdafecd7543e60754e attempt=1")


def test_auto_is_json_where_there_is_no_terminal():
    stream = io.StringIO()
    configure_logging("auto", stream=stream)
    logging.getLogger("shop").info("done")
    assert line(stream)["message"] == "done"


def test_standard_error_is_where_it_goes(capsys):
    configure_logging("text")
    logging.getLogger("shop").info("done")
    captured = capsys.readouterr()
    assert "done" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(("level", "written"), [("warning", 1), (logging.INFO, 2), ("DEBUG", 3)])
def test_the_level_decides_what_is_written(level, written):
    stream = io.StringIO()
    configure_logging("json", level, stream=stream)
    for one in (logging.DEBUG, logging.INFO, logging.WARNING):
        logging.getLogger("shop").log(one, "something")
    assert len(stream.getvalue().splitlines()) == written


def test_filters_add_fields():
    class Tenant(logging.Filter):
        def filter(self, record):
            record.tenant = "blue"
            return True

    stream = io.StringIO()
    configure_logging("json", filters=[Tenant()], stream=stream)
    logging.getLogger("shop").info("done")
    assert line(stream)["tenant"] == "blue"


def test_again_it_replaces_its_own_handler_and_leaves_those_of_others():
    others = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(others)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("json", stream=first)
    configure_logging("json", stream=second)
    logging.getLogger("shop").info("done")
    assert first.getvalue() == ""
    assert line(second)["message"] == "done"
    assert others in logging.getLogger().handlers


def test_a_format_or_level_that_does_not_exist_is_refused():
    before = list(logging.getLogger().handlers)
    with pytest.raises(SettingsError, match="no log format 'xml': use 'json', 'text' or 'auto'"):
        configure_logging("xml")
    with pytest.raises(SettingsError, match="no log level 'LOUD': use DEBUG"):
        configure_logging("json", "LOUD")
    assert logging.getLogger().handlers == before


FORGED = "2026-01-01T00:00:00.000Z INFO     eventmesh.access: POST /admin 200"


def test_no_text_from_outside_begins_a_line_of_the_log():
    stream = io.StringIO()
    configure_logging("text", stream=stream)
    try:
        raise ValueError(f"card\n{FORGED}")
    except ValueError:
        logging.getLogger("shop").exception("no\n%s", FORGED, extra={"note": f"x\n{FORGED}"})
    first, *others = stream.getvalue().splitlines()
    assert "shop: no" in first
    assert FORGED in "".join(others)
    assert all(other.startswith("    ") for other in others)


@pytest.mark.parametrize("terminal", [False, True])
def test_no_text_from_outside_controls_a_terminal(terminal):
    stream = Terminal() if terminal else io.StringIO()
    configure_logging("text", stream=stream)
    try:
        raise ExceptionGroup("\x1b[2J", [ValueError("\x1b]52;c;eA==\x07")])
    except ExceptionGroup as error:
        error.add_note("\x9b2J")
        logging.getLogger("shop").exception("\x1b]0;owned\x07", extra={"note": "\x1b[2J"})
    # What is left without the colours of our own.
    written = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())
    assert not {"\x1b", "\x07", "\x9b"} & set(written)
    assert "\\x1b]0;owned\\x07" in written
    assert "\\x1b]52;c;eA==\\x07" in written
