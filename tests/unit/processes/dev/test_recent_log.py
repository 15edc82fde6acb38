"""The last lines of the log, for the console."""

import logging

import pytest

from eventmesh.processes.dev.recent_log import MAX_LINE, MAX_LINES, MAX_TOTAL, recent_log

LOGGER = logging.getLogger("a-test-of-the-recent-log")


@pytest.fixture
def log():
    with recent_log() as log:
        yield log


def texts(log):
    return [line["text"] for line in log.lines().values()]


def test_records_are_kept_as_lines_of_the_log(log):
    LOGGER.warning("%s is late", "the train")
    (line,) = log.lines().values()
    assert line["level"] == "WARNING"
    assert line["text"].endswith("WARNING  a-test-of-the-recent-log: the train is late")


def test_a_text_of_a_stranger_begins_no_line(log):
    LOGGER.warning("%s", "one\ntwo\x1b[31m")
    assert texts(log)[0].endswith("one\n    two\\x1b[31m")


def test_only_the_last_ones_are_kept(log):
    for number in range(MAX_LINES + 5):
        LOGGER.warning("%d", number)
    lines = log.lines()
    assert list(lines) == [str(number) for number in range(6, MAX_LINES + 6)]
    assert lines["6"]["text"].endswith(": 5")


def test_so_many_characters_are_kept(log):
    for _ in range(MAX_LINES):
        LOGGER.warning("%s", "x" * 10 * MAX_LINE)
    assert {len(text) for text in texts(log)} == {MAX_LINE + 1}
    assert MAX_TOTAL - MAX_LINE - 1 <= sum(map(len, texts(log))) <= MAX_TOTAL


def test_who_looks_is_not_in_it(log):
    for name, text, path in (
        ("eventmesh.audit", "console: look by local: admitted", ""),
        ("eventmesh.access", "GET /_console/api/me 200", "/_console/api/me"),
        ("eventmesh.audit", "invoke shop.sell by local: admitted", ""),
        ("eventmesh.access", "GET /hello 200", "/hello"),
    ):
        logging.getLogger(name).warning(text, extra={"path": path})
    assert [text.split(": ", 1)[1].split(" path=")[0] for text in texts(log)] == [
        "invoke shop.sell by local: admitted",
        "GET /hello 200",
    ]


def test_a_record_that_is_wrong_is_left_out(log):
    raising = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        LOGGER.warning("%d", "no number")
    finally:
        logging.raiseExceptions = raising
    LOGGER.warning("after it")
    assert len(texts(log)) == 1


def test_it_keeps_nothing_once_it_is_left():
    with recent_log() as log:
        pass
    LOGGER.warning("after it")
    assert texts(log) == []
