"""What instances write is logged, in bounds."""

import asyncio
import logging
import os

import orjson
import pytest

from eventmesh.instances import output as output_module
from eventmesh.instances.output import LAST_LINES, MAX_LINE, MAX_LOGGERS, Lines, Output


@pytest.fixture
def output(caplog):
    caplog.set_level(logging.DEBUG)
    return Output(
        "app.f", lambda id: {"invocation_id": id or "the only one"}, lambda line, id: None
    )


def record(**changes):
    return orjson.dumps({"level": 30, "logger": "own.name", "message": "m"} | changes)


def test_lines_and_records_are_logged(output, caplog):
    output.take_line(b"printed \xff")
    output.take_record(record(exception="Traceback …", invocation="i1"))
    first, second = caplog.records
    assert (first.name, first.getMessage()) == ("eventmesh.function.app.f", "printed �")
    assert first.invocation_id == "the only one"
    assert (second.name, second.levelno, second.invocation_id) == ("own.name", 30, "i1")
    assert second.exc_text == "Traceback …"


@pytest.mark.parametrize(
    "line", [b"text", b"[]", b"7", b"{}", record(level="high"), record(level=None)]
)
def test_what_is_no_record_is_a_line(output, caplog, line):
    output.take_record(line)
    assert caplog.records[0].getMessage() == line.decode()


def test_a_record_formats_nothing(output, caplog):
    output.take_record(record(message="%s %d {x}"))
    assert caplog.records[0].getMessage() == "%s %d {x}"


def test_an_instance_makes_so_many_loggers(output, caplog):
    for number in range(MAX_LOGGERS + 5):
        output.take_record(record(logger=f"made.up.{number}"))
    assert f"made.up.{MAX_LOGGERS + 1}" not in logging.Logger.manager.loggerDict
    assert len(caplog.records) == MAX_LOGGERS + 5


def test_the_last_lines_are_kept(output):
    for number in range(LAST_LINES + 5):
        output.take_line(b"line %d" % number)
    assert output.last[0] == "line 5"
    assert len(output.last) == LAST_LINES


async def read(data: bytes, monkeypatch=None):
    lines: list[bytes] = []
    reading, writing = os.pipe()
    loop = asyncio.get_running_loop()
    _, reader = await loop.connect_read_pipe(
        lambda: Lines(lines.append), os.fdopen(reading, "rb", buffering=0)
    )
    await asyncio.to_thread(_write, writing, data)
    async with asyncio.timeout(60):
        await reader.closed
    return lines


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


async def test_lines_are_cut_where_they_end():
    assert await read(b"a\n\nbc\nrest") == [b"a", b"", b"bc", b"rest"]


async def test_a_line_without_an_end_is_cut():
    lines = await read(b"x" * (3 * MAX_LINE + 10))
    assert max(map(len, lines)) <= MAX_LINE
    assert sum(map(len, lines)) == 3 * MAX_LINE + 10


async def test_who_writes_too_much_waits_and_loses_nothing(monkeypatch):
    monkeypatch.setattr(output_module, "MAX_LINES", 50)
    monkeypatch.setattr(output_module, "PERIOD", 0.01)
    assert len(await read(b"line\n" * 500)) == 500
