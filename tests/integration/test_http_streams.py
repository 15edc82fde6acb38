import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientPayloadError
from waiting import DEADLINE

from eventmesh import Problem, Service, on

EVENTS = {"Accept": "text/event-stream"}


service = Service("s")


@service.function(on.get("/numbers"))
async def numbers(count: int = 3) -> AsyncIterator[dict[str, int]]:
    for number in range(count):
        yield {"number": number}


@service.function(on.get("/threaded"))
def threaded() -> Iterator[int]:
    yield from (1, 2)


@service.function(on.get("/file"))
async def file() -> AsyncIterator[bytes]:
    yield b"one\n"
    yield b""
    yield b"two"


@service.function(on.get("/broken"))
async def broken(after: int) -> AsyncIterator[int]:
    for number in range(after):
        yield number
    raise Problem(409, "sold out")


@service.function(on.get("/unencodable"))
async def unencodable() -> AsyncIterator[int]:
    yield "x"  # type: ignore[misc]


@service.function(on.get("/slow"), timeout="50ms")
async def slow() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


@pytest.fixture
async def streams(serving):
    async with serving(service) as served:
        yield served


@pytest.mark.parametrize(("count", "body"), [(2, b'{"number":0}\n{"number":1}\n'), (0, b"")])
async def test_items_are_lines_of_json(streams, count, body):
    async with streams.http.get(f"/numbers?count={count}") as answer:
        assert answer.status == 200
        assert answer.content_type == "application/x-ndjson"
        assert await answer.read() == body


async def test_items_are_events_for_whom_asks_for_them(streams):
    async with streams.http.get("/numbers?count=2", headers=EVENTS) as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert await answer.read() == b'data: {"number":0}\n\ndata: {"number":1}\n\n'


async def test_a_generator_runs_in_threads(streams):
    async with streams.http.get("/threaded") as answer:
        assert await answer.read() == b"1\n2\n"


async def test_bytes_are_sent_as_they_are(streams):
    async with streams.http.get("/file", headers=EVENTS) as answer:
        assert answer.content_type == "application/octet-stream"
        assert await answer.read() == b"one\ntwo"


async def test_head_of_a_stream_has_no_body(streams):
    async with streams.http.head("/numbers") as answer:
        assert answer.content_type == "application/x-ndjson"
        assert await answer.read() == b""
    async with streams.http.get("/numbers?count=0") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("headers", [{}, EVENTS])
async def test_a_stream_that_fails_before_its_first_item_is_a_problem(streams, headers):
    async with streams.http.get("/broken?after=0", headers=headers) as answer:
        assert answer.status == 409
        assert answer.content_type == "application/problem+json"
    async with streams.http.get("/unencodable", headers=headers) as answer:
        assert answer.status == 500
        assert answer.content_type == "application/problem+json"
        assert (await answer.json(content_type=None))["status"] == 500


@pytest.mark.parametrize("path", ["/broken?after=2", "/slow"])
async def test_lines_of_a_stream_that_fails_break_off(streams, path):
    async with streams.http.get(path) as answer:
        assert answer.status == 200
        with pytest.raises(ClientPayloadError):
            await answer.read()


async def test_events_of_a_stream_that_fails_end_with_an_error(streams):
    async with streams.http.get("/broken?after=1", headers=EVENTS) as answer:
        first, error, end = (await answer.text()).split("\n\n")
    assert first == "data: 0"
    assert end == ""
    name, _, data = error.partition("\ndata: ")
    assert name == "event: error"
    assert json.loads(data)["detail"] == "sold out"


async def test_an_old_client_gets_the_stream_to_the_end_of_its_connection(streams):
    reader, writer = await streams.connect()
    writer.write(b"GET /numbers?count=1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"Connection: close" in head
    assert body == b'{"number":0}\n'


async def test_a_generator_that_hangs_keeps_its_permit(serving):
    service = Service("s")
    going_on = threading.Event()

    @service.function(on.get("/"), concurrency=1, timeout="50ms")
    def stuck() -> Iterator[int]:
        going_on.wait(10)
        yield 1

    async with serving(service) as served:
        try:
            # The first keeps the thread, and with it the permit that the others wait for.
            for status in (504, 429, 429):
                async with asyncio.timeout(DEADLINE), served.http.get("/") as answer:
                    assert answer.status == status
        finally:
            going_on.set()


class Endless:
    """A stream that a test watches."""

    def __init__(self, item):
        self.service = Service("s")
        self.sent = 0
        self.closed = asyncio.Event()

        @self.service.function(on.get("/"), timeout=None)
        async def endless() -> AsyncIterator[str]:
            try:
                while True:
                    yield item
                    self.sent += 1
                    await asyncio.sleep(0)
            finally:
                self.closed.set()


async def test_a_client_that_leaves_ends_the_stream(serving):
    stream = Endless("x")
    async with serving(stream.service) as served:
        async with served.http.get("/") as answer:
            await answer.content.readline()
            answer.close()
        await asyncio.wait_for(stream.closed.wait(), 60)


async def test_a_client_that_reads_nothing_holds_the_stream_and_is_dropped(serving, manual_clock):
    stream = Endless("x" * 100_000)
    async with serving(stream.service, clock=manual_clock) as served:
        _, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            await stalled(stream)
        assert not stream.closed.is_set()

        await manual_clock.advance("31s")

        await asyncio.wait_for(stream.closed.wait(), 60)
        writer.close()


async def stalled(stream):
    """Return once the system's buffers are full, and the stream is asked for nothing more."""
    sent = 0
    while not sent or sent < stream.sent:
        sent = stream.sent
        for _ in range(1000):
            await asyncio.sleep(0)
