"""Handlers that yield: their items one by one for HTTP, as one list for everybody else."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import BaseModel, computed_field

from eventmesh.model.errors import FunctionError, PayloadTooLarge, Reject
from eventmesh.model.invocation import SYNC, HttpRequest, RouteTemplate
from eventmesh.model.message import MAX_BODY

HTTP = HttpRequest(RouteTemplate("GET /", (), False), "GET", "/", {}, {}, {})


class Row(BaseModel):
    number: int


class Broken(BaseModel):
    number: int

    @computed_field
    @property
    def half(self) -> int:
        raise KeyError("of the serialiser")


async def counting() -> AsyncIterator[int]:
    for number in range(3):
        yield number


def counting_in_threads() -> Iterator[int]:
    yield from range(3)


async def rows() -> AsyncIterator[Row]:
    yield Row(number=1)
    yield Row(number=2)


async def nothing() -> AsyncIterator[int]:
    for number in ():
        yield number


BOTH = pytest.mark.parametrize("handler", [counting, counting_in_threads])


@BOTH
async def test_the_items_are_a_stream_for_http(run, handler):
    result = await run(handler, http=HTTP)
    assert [item async for item in result.stream] == [b"0", b"1", b"2"]
    assert result.error is None


@BOTH
async def test_the_items_are_a_list_for_others(run, handler):
    result = await run(handler, mode=SYNC)
    assert (result.body, result.stream, result.content_type) == (
        b"[0,1,2]",
        None,
        "application/json",
    )


async def test_items_are_encoded_as_annotated(run):
    assert (await run(rows, mode=SYNC)).body == b'[{"number":1},{"number":2}]'


async def test_no_item_is_an_empty_stream(run):
    assert (await run(nothing, mode=SYNC)).body == b"[]"
    assert [item async for item in (await run(nothing, http=HTTP)).stream] == []


async def test_bytes_are_text_in_a_list_and_as_they_are_in_a_stream(run):
    async def lines() -> AsyncIterator[bytes]:
        yield "größe".encode()
        yield b"1\n"

    assert (await run(lines, mode=SYNC)).body == '["größe","1\\n"]'.encode()
    stream = (await run(lines, http=HTTP)).stream
    assert [item async for item in stream] == ["größe".encode(), b"1\n"]


async def test_bytes_that_are_no_text_make_no_list(run):
    async def picture() -> AsyncIterator[bytes]:
        yield b"\x89PNG\xff"

    error = (await run(picture, mode=SYNC)).error
    assert isinstance(error, FunctionError)
    assert "HTTP callers only" in error.message


@pytest.mark.parametrize("http", [None, HTTP], ids=["list", "stream"])
@pytest.mark.parametrize("raised", [ValueError("at once"), Reject("at once")], ids=repr)
async def test_a_failure_before_the_first_item_is_a_failure_like_any_other(run, http, raised):
    async def fail() -> AsyncIterator[int]:
        if raised:
            raise raised
        yield 1

    error = (await run(fail, http=http)).error
    assert error is raised or (error.type, error.message) == ("ValueError", "at once")


@pytest.mark.parametrize("http", [None, HTTP], ids=["list", "stream"])
@pytest.mark.parametrize("kind", [Row, Broken])
async def test_a_first_item_that_cannot_be_encoded_is_too_and_the_handler_is_closed(
    run, http, kind
):
    closed = []

    async def odd() -> AsyncIterator[kind]:
        try:
            yield "no row" if kind is Row else Broken(number=1)
        finally:
            closed.append(True)

    assert isinstance((await run(odd, http=http)).error, FunctionError)
    assert closed == [True]


@pytest.mark.parametrize("http", [None, HTTP], ids=["list", "stream"])
async def test_a_failure_later_on(run, http):
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise ValueError("later")

    result = await run(fail, http=http)
    if http is None:
        assert result.error.message == "later"
        return
    assert await anext(result.stream) == b"1"
    with pytest.raises(FunctionError, match="later"):
        await anext(result.stream)


async def test_a_later_item_that_cannot_be_encoded_fails_the_stream(run):
    async def odd() -> AsyncIterator[Broken]:
        yield Broken.model_construct(number=1)

    async def late() -> AsyncIterator[Row]:
        yield Row(number=1)
        yield "no row"

    stream = (await run(late, http=HTTP)).stream
    assert await anext(stream) == b'{"number":1}'
    with pytest.raises(FunctionError, match="does not fit"):
        await anext(stream)
    assert isinstance((await run(odd, http=HTTP)).error, FunctionError)


@pytest.mark.parametrize("threaded", [False, True])
async def test_a_list_over_the_limit_is_given_up_while_it_grows(run, threaded):
    made, closed = [], []

    def endless_in_threads() -> Iterator[str]:
        try:
            while True:
                made.append(1)
                yield "x" * 10
        finally:
            closed.append(True)

    async def endless() -> AsyncIterator[str]:
        for item in endless_in_threads():
            yield item

    result = await run(endless_in_threads if threaded else endless, mode=SYNC, max_payload=1000)
    assert isinstance(result.error, PayloadTooLarge)
    assert len(made) < 100
    if threaded:
        assert closed == [True]


@pytest.mark.parametrize("told", [{}, {"on_success": "queue:done"}], ids=["untold", "told"])
async def test_no_limit_ends_what_nobody_waits_for_half_way(run, told):
    ended = []

    async def many() -> AsyncIterator[str]:
        for _ in range(10):
            yield "x" * 200
        ended.append(True)

    result = await run(many, max_payload=1000, **told)
    assert (result.error, ended) == (None, [True])
    assert result.body == (
        b"[" + b",".join([b'"' + b"x" * 200 + b'"'] * 10) + b"]" if told else b"null"
    )


async def test_no_more_is_kept_of_it_than_is_too_large_to_be_told(run):
    ended = []

    def many() -> Iterator[bytes]:
        yield from [b"\xff" * 1024 * 1024] * 40
        ended.append(True)

    result = await run(many, on_success="queue:done")
    assert (result.error, ended) == (None, [True])
    assert MAX_BODY < len(result.body) < 2 * MAX_BODY


async def test_closing_a_stream_ends_its_handler(run):
    closed = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    stream = (await run(endless, http=HTTP)).stream
    await anext(stream)
    assert closed == []
    await stream.aclose()
    assert closed == [True]


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_closing_a_generator_in_threads_runs_its_end_in_a_thread(run, read):
    closed = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(threading.current_thread().name)

    stream = (await run(endless, http=HTTP)).stream
    for _ in range(read):
        await anext(stream)
    await stream.aclose()
    assert len(closed) == 1
    assert closed[0].startswith("app.endless")


async def test_a_generator_whose_thread_goes_on_is_closed_when_the_step_ends(run):
    begun, going_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        try:
            yield 1
            begun.set()
            going_on.wait(60)
            yield 2
        finally:
            closed.set()

    stream = (await run(slow, http=HTTP)).stream
    assert await anext(stream) == b"1"
    reading = asyncio.create_task(anext(stream))
    await asyncio.to_thread(begun.wait, 60)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await stream.aclose()
    assert not closed.is_set()
    going_on.set()
    assert await asyncio.to_thread(closed.wait, 60)


async def test_a_run_that_is_cancelled_before_the_first_item_closes_the_generator(run, clock):
    begun, going_on, closed = threading.Event(), threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        try:
            begun.set()
            going_on.wait(60)
            yield 1
        finally:
            closed.set()

    running = asyncio.create_task(run(slow))
    await asyncio.to_thread(begun.wait, 60)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    going_on.set()
    assert await asyncio.to_thread(closed.wait, 60)


async def test_a_generator_in_threads_has_one_context_for_all_its_items(run):
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(10)

    def counting() -> Iterator[int]:
        while True:
            variable.set(variable.get() + 1)
            yield variable.get()

    stream = (await run(counting, http=HTTP)).stream
    assert [await anext(stream) for _ in range(3)] == [b"11", b"12", b"13"]
    assert variable.get() == 10
    await stream.aclose()
