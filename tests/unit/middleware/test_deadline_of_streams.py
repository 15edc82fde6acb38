import asyncio

import pytest

from eventmesh.middleware.deadline import enforce_deadline
from eventmesh.model.errors import FunctionError, InvocationTimeout
from eventmesh.model.result import Result, close_stream


class Stream:
    """A handler whose items come when the test says, and which notes how it was ended."""

    def __init__(self):
        self.items = asyncio.Queue()
        self.ended = None

    async def __call__(self, invocation):
        return Result(stream=self.generate())

    async def generate(self):
        try:
            while (item := await self.items.get()) is not None:
                yield item
        except BaseException as error:
            self.ended = type(error)
            raise


@pytest.fixture
def stream():
    return Stream()


async def opened(handler, clock, invocation, timeout=5):
    return (await enforce_deadline(clock, timeout)(handler)(invocation())).stream


def next_item(items):
    return asyncio.get_running_loop().create_task(anext(items))


async def test_a_stream_that_ends_in_time_is_passed_on_whole(clock, invocation, stream):
    for item in (b"1", b"2", None):
        stream.items.put_nowait(item)
    items = await opened(stream, clock, invocation)
    assert [item async for item in items] == [b"1", b"2"]


async def test_a_stream_without_a_limit_is_passed_on_as_it_is(clock, invocation):
    result = Result(stream=Stream().generate())

    async def handler(invocation):
        return result

    assert await enforce_deadline(clock, None)(handler)(invocation()) is result


async def test_a_stream_that_waits_for_its_handler_is_ended_at_the_deadline(
    clock, invocation, stream
):
    stream.items.put_nowait(b"1")
    items = await opened(stream, clock, invocation)
    assert await anext(items) == b"1"
    waiting = next_item(items)
    await clock.advance(5)
    with pytest.raises(InvocationTimeout, match="after its timeout of 5 s"):
        await waiting
    assert stream.ended is asyncio.CancelledError


async def test_a_stream_whose_reader_is_slow_is_ended_at_the_deadline(clock, invocation, stream):
    stream.items.put_nowait(b"1")
    stream.items.put_nowait(b"2")
    items = await opened(stream, clock, invocation)
    await anext(items)
    await clock.advance(5)
    with pytest.raises(InvocationTimeout):
        await anext(items)
    assert stream.ended is GeneratorExit


async def test_a_stream_that_swallows_the_cancellation_is_ended(clock, invocation):
    async def generate():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield b"late"

    async def handler(invocation):
        return Result(stream=generate())

    waiting = next_item(await opened(handler, clock, invocation))
    await clock.advance(5)
    with pytest.raises(InvocationTimeout):
        await waiting


async def test_a_stream_that_fails_while_it_is_closed_still_tells_of_the_timeout(clock, invocation):
    async def generate():
        try:
            yield b"1"
        finally:
            raise ValueError("in its clean-up")

    async def handler(invocation):
        return Result(stream=generate())

    items = await opened(handler, clock, invocation)
    await anext(items)
    await clock.advance(5)
    with pytest.raises(InvocationTimeout) as raised:
        await anext(items)
    assert isinstance(raised.value.__cause__, ValueError)


async def test_a_failure_in_time_is_passed_on(clock, invocation):
    async def generate():
        yield b"1"
        raise FunctionError("ValueError", "boom")

    async def handler(invocation):
        return Result(stream=generate())

    items = await opened(handler, clock, invocation)
    await anext(items)
    with pytest.raises(FunctionError, match="boom"):
        await anext(items)


async def test_a_cancellation_from_outside_stays_one(clock, invocation, stream):
    waiting = next_item(await opened(stream, clock, invocation))
    await clock.settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stream.ended is asyncio.CancelledError


async def test_the_reader_is_not_cancelled_between_two_items(clock, invocation, stream):
    stream.items.put_nowait(b"1")
    items = await opened(stream, clock, invocation)
    written = asyncio.Event()

    async def reader():
        await anext(items)
        await written.wait()
        return "written"

    reading = asyncio.get_running_loop().create_task(reader())
    await clock.advance(60)
    written.set()
    assert await reading == "written"
    await close_stream(items)


async def test_closing_it_early_closes_the_handler(clock, invocation, stream):
    stream.items.put_nowait(b"1")
    items = await opened(stream, clock, invocation)
    await anext(items)
    await close_stream(items)
    assert stream.ended is GeneratorExit
