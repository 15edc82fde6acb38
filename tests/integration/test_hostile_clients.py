"""Clients that want more of a server than their share: bombs, many bodies, many connections."""

import asyncio
import gzip
import json
import logging
import zlib

import pytest
from raw_http import HOST, JSON, status_of
from waiting import DEADLINE, PAUSE

from eventmesh import Service, on
from eventmesh.http.limits.limits import RATE_GRACE
from eventmesh.http.protocol import LAMBDA
from eventmesh.http.server.connection import KEEP_ALIVE

GZIP = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
MIB = 1024 * 1024


class Waiting:
    """A function that waits until the test lets it end."""

    def __init__(self):
        self.running = asyncio.Semaphore(0)
        self.end = asyncio.Event()


@pytest.fixture
def waiting():
    return Waiting()


@pytest.fixture
def echo(waiting):
    service = Service("s")

    @service.function(on.post("/echo"))
    async def echo(text: str) -> str:
        return text

    @service.function(on.get("/"))
    async def hello() -> str:
        return "hello"

    @service.function(on.post("/wait"))
    async def wait(body: bytes) -> int:
        waiting.running.release()
        await waiting.end.wait()
        return len(body)

    @service.function(on.post("/stream"))
    async def stream(body: bytes):
        yield 1
        waiting.running.release()
        await waiting.end.wait()
        yield len(body)

    return service


def metric(served, name):
    """A number of the process, without labels."""
    return served.host.metrics.registry.get_sample_value(f"eventmesh_http_{name}")


async def soon(condition):
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(PAUSE)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("name", ["/echo", f"{LAMBDA}/s.echo/invocations"])
async def test_a_bomb_is_refused(serving, echo, coding, name, caplog):
    caplog.set_level(logging.INFO, "eventmesh.http.limits")
    bomb = json.dumps({"text": "x" * 6_000_000}).encode()
    packed = gzip.compress(bomb) if coding == "gzip" else zlib.compress(bomb)
    async with serving(echo) as served:
        headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
        async with served.http.post(name, data=packed, headers=headers) as answer:
            assert answer.status == (413 if name == "/echo" else 400)
            assert b"grows more than 20 times" in await answer.read()
        assert metric(served, "dense_bodies_total") == 1
        assert metric(served, "body_bytes") == 0
    assert "a compressed body was refused" in caplog.text


async def test_what_compresses_as_json_does_is_taken(serving, echo):
    text = " ".join(str(n * n) for n in range(50_000))
    packed = gzip.compress(json.dumps({"text": text}).encode())
    async with serving(echo) as served:
        async with served.http.post("/echo", data=packed, headers=GZIP) as answer:
            assert await answer.json() == text
        small = gzip.compress(json.dumps({"text": "x" * 60_000}).encode())
        async with served.http.post("/echo", data=small, headers=GZIP) as answer:
            assert await answer.json() == "x" * 60_000


async def test_all_bodies_together_have_a_bound(serving, echo, waiting, caplog):
    async with serving(echo, max_bodies=3 * MIB) as served, asyncio.TaskGroup() as tasks:

        async def post():
            async with served.http.post("/wait", data=b"x" * MIB) as answer:
                return answer.status, answer.headers.get("Retry-After"), await answer.read()

        held = [tasks.create_task(post()) for _ in range(3)]
        for _ in held:
            await waiting.running.acquire()
        assert metric(served, "body_bytes") == 3 * MIB

        status, retry, _ = await post()
        assert (status, retry) == (503, "1")
        path = f"{LAMBDA}/s.wait/invocations"
        async with served.http.post(path, data=b"1") as answer:
            assert answer.status == 429
            assert answer.headers["x-amzn-ErrorType"] == "TooManyRequestsException"
        async with served.http.get("/") as answer:
            assert answer.status == 200  # What has no body goes on.

        waiting.end.set()
        assert {(await one)[0] for one in held} == {200}
        assert metric(served, "body_bytes") == 0
        assert (await post())[0] == 200
        assert metric(served, "refused_bodies_total") == 2
    assert "EVENTMESH_MAX_BODIES" in caplog.text


async def test_a_body_counts_from_its_first_byte_until_its_client_is_gone(serving, echo):
    async with serving(echo, max_bodies=3 * MIB) as served:
        clients = [await served.connect() for _ in range(3)]
        for _, writer in clients:
            writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + JSON)
            writer.write(b"Content-Length: 6000000\r\n\r\n" + b"x" * 1_000_000)
        await soon(lambda: metric(served, "body_bytes") == 3_000_000)
        reader, writer = await served.connect()
        writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + JSON)
        writer.write(b"Content-Length: 6000000\r\n\r\n" + b"x" * 1_000_000)
        async with asyncio.timeout(DEADLINE):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 503
        for _, other in (*clients, (reader, writer)):
            other.close()
        await soon(lambda: metric(served, "body_bytes") == 0)


async def test_a_body_counts_until_its_stream_has_ended(serving, echo, waiting):
    async with (
        serving(echo) as served,
        served.http.post("/stream", data=b"x" * 1000) as answer,
    ):
        await waiting.running.acquire()
        assert metric(served, "body_bytes") == 1000
        waiting.end.set()
        assert await answer.text() == "1\n1000\n"
        await soon(lambda: metric(served, "body_bytes") == 0)


async def test_a_body_counts_while_its_call_runs_on_without_its_client(serving, echo, waiting):
    async with serving(echo) as served:
        _, writer = await served.connect()
        path = f"{LAMBDA}/s.wait/invocations".encode()
        writer.write(b"POST " + path + b" HTTP/1.1\r\n" + HOST + b"amz-sdk-invocation-id: 1\r\n")
        writer.write(b"Content-Length: 1000\r\n\r\n" + b"1" * 1000)
        await waiting.running.acquire()
        writer.close()
        await soon(lambda: metric(served, "connections") == 0)
        assert metric(served, "body_bytes") == 1000
        waiting.end.set()
        await soon(lambda: metric(served, "body_bytes") == 0)


async def test_what_is_made_of_a_body_counts_too(serving):
    service = Service("s")

    @service.function(on.post("/"))
    async def take(lines: list) -> None: ...

    body = json.dumps({"lines": [[]] * 20_000}).encode()
    headers = {"Content-Type": "application/json"}
    async with (
        serving(service, max_bodies=2 * MIB) as served,
        served.http.post("/", data=body, headers=headers) as answer,
    ):
        assert len(body) < 100_000
        assert answer.status == 503


async def test_a_body_that_comes_too_slowly_is_ended(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock) as served:
        reader, writer = await served.connect()
        writer.write(b"POST /echo HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 5000\r\n\r\n")
        writer.write(b"x" * 1024)  # A second's worth.
        await soon(lambda: metric(served, "body_bytes") == 1024)
        await manual_clock.advance(RATE_GRACE + 0.5)
        assert metric(served, "slow_clients_total") == 0
        await manual_clock.advance(1)
        async with asyncio.timeout(DEADLINE):
            assert status_of(await reader.readuntil(b"\r\n\r\n")) == 408
        assert metric(served, "slow_clients_total") == 1
        writer.close()


async def test_a_connection_on_which_nothing_comes_is_closed(serving, echo, manual_clock):
    async with serving(echo, clock=manual_clock, http_header_timeout=10) as served:
        reader, writer = await served.connect()
        await soon(lambda: metric(served, "connections") == 1)
        await manual_clock.advance(11)
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()
        assert metric(served, "slow_clients_total") == 1
    assert KEEP_ALIVE > 11


async def test_there_are_so_many_connections(serving, echo, caplog):
    async with serving(echo, http_max_connections=3, http_max_peer_connections=3) as served:
        clients = [await served.connect() for _ in range(3)]
        await soon(lambda: metric(served, "connections") == 3)
        for _ in range(20):
            reader, writer = await served.connect()
            async with asyncio.timeout(DEADLINE):
                answer = await reader.read()
            assert status_of(answer) == 503
            assert b"Retry-After" in answer
            writer.close()
        assert metric(served, "refused_connections_total") == 20
        clients.pop()[1].close()
        await soon(lambda: metric(served, "connections") == 2)
        async with served.http.get("/") as answer:
            assert answer.status == 200
        for _, writer in clients:
            writer.close()
    warned = [r for r in caplog.records if "a connection was refused" in r.message]
    assert len(warned) == 1
    assert "EVENTMESH_HTTP_MAX_CONNECTIONS" in warned[0].message


async def test_one_client_has_no_more_than_its_share(serving, echo):
    async with serving(echo, http_max_connections=10, http_max_peer_connections=2) as served:
        clients = [await served.connect() for _ in range(2)]
        await soon(lambda: metric(served, "connections") == 2)
        reader, writer = await served.connect()
        async with asyncio.timeout(DEADLINE):
            assert status_of(await reader.read()) == 503
        for _, other in (*clients, (reader, writer)):
            other.close()


async def test_a_server_over_tls_counts_its_connections_as_well(serving, echo, certificate):
    async with serving(echo, **certificate, http_header_timeout=0.2) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        # No handshake comes: it ends as a head that does not come.
        async with asyncio.timeout(DEADLINE):
            assert await reader.read() == b""
        writer.close()


async def test_answers_over_413_are_counted(serving, echo):
    async with serving(echo, max_body=10) as served:
        async with served.http.post("/echo", json={"text": "too long for it"}) as answer:
            assert answer.status == 413
        assert metric(served, "large_bodies_total") == 1
