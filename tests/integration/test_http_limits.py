"""Clients that send what is no HTTP, too much, or next to nothing."""

import asyncio

import pytest
from raw_http import HOST, JSON, status_of
from waiting import DEADLINE

from eventmesh import Service, on


@pytest.fixture
def echo():
    service = Service("s")

    @service.function(on.post("/echo"))
    async def echo(text: str) -> str:
        return text

    @service.function(on.get("/"))
    async def hello() -> str:
        return "hello"

    @service.function(on.get("/large"))
    async def large() -> str:
        return "x" * 50_000_000

    return service


async def answer_to(served, *pieces):
    """All that comes back on a connection, to its end."""
    reader, writer = await served.connect()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer


async def turns(count=200):
    """Let the event loop run, so that what was sent has come in."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 10_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 200 + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
async def test_what_is_no_http_is_refused_and_the_connection_ends(
    serving, echo, caplog, request_line, status
):
    async with serving(echo) as served:
        answer = await answer_to(served, request_line)

        assert status_of(answer) == status
        assert b"application/problem+json" in answer
        assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_head_that_trickles_is_ended(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock, http_header_timeout=10) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\n")
        await turns()
        await manual_clock.advance(6)
        writer.write(b"X-A: 1\r\n")
        await turns()
        await manual_clock.advance(6)

        async with asyncio.timeout(DEADLINE):
            assert status_of(await reader.read()) == 408
        writer.close()


async def test_a_body_that_trickles_is_ended(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock, http_read_timeout=10) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 100\r\n\r\n")
        for _ in range(2):
            writer.write(b" ")
            await turns()
            await manual_clock.advance(6)

        async with asyncio.timeout(DEADLINE):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert status_of(answer) == 408
        assert b"Connection: close" in answer
        writer.close()


async def test_time_between_requests_is_no_time_of_a_request(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock) as served:
        for _ in range(2):
            async with served.http.get("/") as answer:
                assert answer.status == 200
            await manual_clock.advance(60)


async def test_a_client_that_does_not_take_its_answer_is_dropped(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock) as served:
        reader, writer = await served.connect()
        writer.transport.pause_reading()
        writer.write(b"GET /large HTTP/1.1\r\n" + HOST + b"\r\n")
        await turns(2000)
        await manual_clock.advance("31s")
        writer.transport.resume_reading()

        async with asyncio.timeout(DEADLINE):
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await reader.readexactly(50_000_000)
        writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(serving, echo):
    async with serving(echo) as served:
        reader, writer = await served.connect()
        head = b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 15\r\n"
        writer.write(head + b"Expect: 100-continue\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 100
            writer.write(b'{"text": "abc"}')
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 200
        writer.close()


@pytest.mark.parametrize(
    ("header", "status"),
    [(b"Expect: 200-ok\r\nContent-Length: 5", 417), (b"Content-Length: 99999999", 413)],
)
async def test_a_client_that_asks_too_much_is_told_before_it_sends(serving, echo, header, status):
    async with serving(echo) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + JSON + header + b"\r\n\r\n")
        async with asyncio.timeout(DEADLINE):
            answer = await reader.readuntil(b"\r\n\r\n")
        assert status_of(answer) == status
        assert b"Connection: close" in answer
        writer.close()


async def test_requests_in_a_row_are_answered_in_their_order(serving, echo):
    body = b'{"text": "%d"}'
    requests = b"".join(
        b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 13\r\n\r\n" + body % number
        for number in range(5)
    )
    last = b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    async with serving(echo) as served:
        answer = await answer_to(served, requests, last)

    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert bodies == [b'"0"', b'"1"', b'"2"', b'"3"', b'"4"', b'"hello"']


@pytest.mark.parametrize(
    ("head", "connection"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", b"Connection: close"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n", b"Connection: close"),
    ],
)
async def test_the_connection_ends_when_the_client_wants_it(serving, echo, head, connection):
    async with serving(echo) as served:
        answer = await answer_to(served, head)

    assert status_of(answer) == 200
    assert connection in answer


async def test_an_old_client_may_keep_its_connection(serving, echo):
    async with serving(echo) as served:
        reader, writer = await served.connect()
        for _ in range(2):
            writer.write(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            async with asyncio.timeout(DEADLINE):
                head = await reader.readuntil(b"\r\n\r\n")
                assert b"Connection: keep-alive" in head
                assert await reader.readexactly(7) == b'"hello"'
        writer.close()


async def test_a_proxys_form_of_the_target_is_understood(serving, echo):
    async with serving(echo) as served:
        answer = await answer_to(
            served, b"GET http://localhost/ HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        )

    assert status_of(answer) == 200


async def test_options_of_the_server_itself(serving, echo):
    async with serving(echo) as served:
        answer = await answer_to(
            served, b"OPTIONS * HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        )

    assert status_of(answer) == 204
