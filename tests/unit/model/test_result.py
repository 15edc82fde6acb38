import asyncio
from http import HTTPStatus
from types import MappingProxyType

import pytest

from eventmesh.model.result import Response, Result, close_stream, on_close


class Release:
    """Counts how often it is called."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1


@pytest.fixture
def release():
    return Release()


async def items(*chunks, error=None, cleanup=None):
    try:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error
    finally:
        if cleanup is not None:
            cleanup()


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ([("x-total", "7")], "is a list: write a mapping of strings"),
        ("x-total: 7", "is a str: write"),
        (None, "is a NoneType: write"),
        ({"x-total": 7}, "has 'x-total', a int: write"),
        ({7: "x"}, "has 7, a str: write"),
        ({"set-cookie": {"a=1", "b=2"}}, "has 'set-cookie', a set: .* has a list of them"),
        ({"set-cookie": ["a=1", None]}, "has 'set-cookie', a list"),
    ],
    ids=repr,
)
def test_a_response_refuses_headers_that_are_none(headers, advice):
    with pytest.raises(TypeError, match=advice):
        Response(headers=headers)


@pytest.mark.parametrize(
    "status", [0, 100, 101, 199, 600, 99999, True, "200", 200.0, None], ids=repr
)
def test_a_response_refuses_a_status_that_ends_no_request(status):
    with pytest.raises(ValueError, match="from 200 to 599"):
        Response(status=status)


@pytest.mark.parametrize("status", [200, 304, 599, HTTPStatus.CREATED])
def test_a_response_takes_a_status_that_ends_a_request(status):
    assert Response(status=status).status == status


def test_a_response_takes_any_mapping_of_texts():
    headers = {"X-Total": "7", "Set-Cookie": ["a=1", "b=2"], "Vary": ("Origin", "Cookie")}
    assert Response(headers=headers).headers is headers
    assert Response(headers=MappingProxyType(headers)).headers == headers


def test_without_a_stream_it_is_released_at_once(release):
    result = Result(b"1")
    assert on_close(result, release) is result
    assert release.calls == 1


async def test_a_stream_is_released_at_its_end(release):
    result = on_close(Result(stream=items(b"1", b"2")), release)
    assert release.calls == 0
    assert [chunk async for chunk in result.stream] == [b"1", b"2"]
    assert release.calls == 1


async def test_it_is_held_between_two_items(release):
    result = on_close(Result(stream=items(b"1", b"2")), release)
    assert await anext(result.stream) == b"1"
    assert release.calls == 0


async def test_what_else_the_result_says_is_kept(release):
    result = on_close(Result(content_type="text/plain", stream=items()), release)
    assert result.content_type == "text/plain"


async def test_a_stream_that_fails_is_released_and_its_error_raised(release):
    result = on_close(Result(stream=items(b"1", error=ValueError("bad"))), release)
    assert await anext(result.stream) == b"1"
    with pytest.raises(ValueError, match="bad"):
        await anext(result.stream)
    assert release.calls == 1


async def test_a_stream_closed_before_its_start_is_released(release):
    cleanup = Release()
    result = on_close(Result(stream=items(b"1", cleanup=cleanup)), release)
    await close_stream(result.stream)
    assert release.calls == 1
    assert cleanup.calls == 0  # It never ran: there is nothing to clean up.


async def test_a_stream_closed_half_way_cleans_up_before_it_is_released(release):
    released_before = []
    stream = items(b"1", b"2", cleanup=lambda: released_before.append(release.calls))
    result = on_close(Result(stream=stream), release)
    await anext(result.stream)
    await close_stream(result.stream)
    assert (released_before, release.calls) == ([0], 1)


async def test_a_stream_closed_twice_or_after_its_end_is_released_once(release):
    result = on_close(Result(stream=items(b"1")), release)
    assert [chunk async for chunk in result.stream] == [b"1"]
    await close_stream(result.stream)
    await close_stream(result.stream)
    assert release.calls == 1
    with pytest.raises(StopAsyncIteration):
        await anext(result.stream)
    assert release.calls == 1


async def test_a_stream_whose_closing_fails_is_released(release):
    def fail():
        raise OSError("disk full")

    result = on_close(Result(stream=items(b"1", cleanup=fail)), release)
    await anext(result.stream)
    with pytest.raises(OSError, match="disk full"):
        await close_stream(result.stream)
    assert release.calls == 1


async def test_a_stream_cancelled_while_it_waits_is_released(release):
    waiting = asyncio.Event()

    async def never():
        waiting.set()
        await asyncio.Event().wait()
        yield b"1"

    result = on_close(Result(stream=never()), release)
    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(anext(result.stream))
        await waiting.wait()
        assert release.calls == 0
        reading.cancel()
    assert reading.cancelled()
    assert release.calls == 1


async def test_two_layers_are_both_released(release):
    inner = Release()
    result = on_close(on_close(Result(stream=items(b"1")), inner), release)
    await close_stream(result.stream)
    assert (inner.calls, release.calls) == (1, 1)


async def test_a_stream_that_cannot_be_closed_needs_no_closing():
    class Plain:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise StopAsyncIteration

    await close_stream(Plain())
