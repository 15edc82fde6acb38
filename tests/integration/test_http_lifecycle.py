"""The server's beginning and end, and what happens on its edge."""

import asyncio
import logging
import socket
import ssl

import pytest
from waiting import DEADLINE, PAUSE

from eventmesh import DeclarationError, Service, SettingsError, on
from eventmesh.model.topology import slots_name


class Slow:
    """A service whose one function runs until it is let go."""

    def __init__(self, **options):
        self.service = Service("s")
        self.begun, self.end, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

        @self.service.function(on.get("/"), **options)
        async def slow() -> str:
            self.begun.set()
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "done"


async def test_a_client_that_leaves_cancels_the_handler(serving, caplog):
    slow = Slow()
    caplog.set_level(logging.INFO, "eventmesh.access")
    async with serving(slow.service) as served:
        _, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await slow.begun.wait()
        writer.close()
        await asyncio.wait_for(slow.cancelled.wait(), 60)
        async with served.http.get("/nix") as answer:
            assert answer.status == 404

    statuses = [record.status for record in caplog.records if record.name == "eventmesh.access"]
    assert statuses == [499, 404]


async def test_stopping_waits_for_what_runs_and_takes_no_more(serving):
    slow = Slow()
    stop = asyncio.Event()
    left = asyncio.Event()

    async def serve(ready):
        async with serving(slow.service) as served:
            ready.set_result(served)
            await stop.wait()
        left.set()

    ready = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(ready))
        served = await ready
        reader, writer = await served.connect()
        idle_reader, idle_writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await slow.begun.wait()
        stop.set()
        async with asyncio.timeout(DEADLINE):
            assert await idle_reader.read() == b""
            with pytest.raises(ConnectionRefusedError):
                await served.connect()
            assert not left.is_set()
            slow.end.set()
            answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close" in answer
    assert left.is_set()
    writer.close()
    idle_writer.close()


@pytest.mark.parametrize("path", ["/", "/2015-03-31/functions/s.work/invocations"])
async def test_who_finds_no_slot_of_the_mesh_within_the_timeout_is_refused(
    serving, path, manual_clock
):
    service = Service("s")

    @service.function(on.post("/"), timeout="50ms", reserved_concurrency=1, max_pending=0)
    async def work() -> str:
        return "done"

    async with (
        serving(service, clock=manual_clock) as served,
        served.broker.slots(slots_name("s.work"), 1) as elsewhere,
    ):
        await elsewhere.acquire()
        asking = asyncio.create_task(served.http.post(path, json={}))
        async with asyncio.timeout(DEADLINE):
            while not asking.done():
                await manual_clock.advance(0.05)
                await asyncio.sleep(PAUSE)
        async with await asking as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "1"
        elsewhere.release()
        async with asyncio.timeout(DEADLINE), served.http.post(path, json={}) as answer:
            assert (answer.status, await answer.json()) == (200, "done")


async def test_what_does_not_end_within_the_grace_time_is_503(serving):
    slow = Slow()
    async with serving(slow.service, grace=0.05) as served:
        reader, writer = await served.connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await slow.begun.wait()
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1" in answer
    assert slow.cancelled.is_set()


async def test_a_call_that_runs_on_without_its_client_does_not_outlive_the_grace_time(serving):
    slow = Slow()
    async with serving(slow.service, grace=0.05) as served:
        _, writer = await served.connect()
        writer.write(
            b"POST /2015-03-31/functions/s.slow/invocations HTTP/1.1\r\n"
            b"Host: localhost\r\namz-sdk-invocation-id: 1\r\n\r\n"
        )
        await slow.begun.wait()
        writer.close()
        await writer.wait_closed()
        assert not slow.cancelled.is_set()
    assert slow.cancelled.is_set()


async def test_a_body_that_never_ends_does_not_outlive_the_grace_time(serving):
    service = Service("s")

    @service.function(on.post("/"))
    async def take(data: bytes) -> int:
        return len(data)

    async with serving(service, grace=0.05) as served:
        reader, writer = await served.connect()
        writer.write(
            b"POST / HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n"
        )
        async with asyncio.timeout(DEADLINE):
            await reader.readuntil(b"\r\n\r\n")
    async with asyncio.timeout(DEADLINE):
        assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    writer.close()


async def test_a_taken_port_is_an_error_with_advice(serving):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"127\.0\.0\.1:{port}.*EVENTMESH_HTTP_PORT"):
            async with serving(Service("s"), http_port=port):
                pytest.fail("it listens where somebody else does")


async def test_two_functions_of_one_route_are_refused_by_name(serving):
    first, second = Service("first"), Service("second")

    @first.function(on.get("/orders/{id}"))
    async def show(id: int) -> None: ...

    @second.function(on.get("/orders/{name}"))
    async def find(name: str) -> None: ...

    with pytest.raises(DeclarationError, match=r"both first\.show and second\.find answer GET"):
        async with serving(first, second):
            pytest.fail("two functions answer the same route")


async def test_there_is_an_api_also_without_routes(serving):
    service = Service("s")

    @service.function
    async def hello() -> str:
        return "hello"

    async with serving(service) as served:
        async with served.http.post("/2015-03-31/functions/s.hello/invocations") as answer:
            assert await answer.json() == "hello"
        async with served.http.get("/docs") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("settings", "paths"),
    [
        ({"docs": False}, ["/docs", "/openapi.json", "/docs/swagger-ui.js"]),
        ({"api": False}, ["/_eventmesh/functions", "/2015-03-31/functions/s.a/invocations"]),
    ],
)
async def test_what_is_switched_off_is_not_there(serving, settings, paths):
    async with serving(Service("s"), **settings) as served:
        for path in paths:
            async with served.http.get(path) as answer:
                assert answer.status == 404


async def test_a_functions_own_route_takes_the_place_of_ours(serving):
    service = Service("s")

    @service.function(on.get("/docs"), on.get("/openapi.json"))
    async def own() -> str:
        return "own"

    async with serving(service) as served:
        for path in ("/docs", "/openapi.json"):
            async with served.http.get(path) as answer:
                assert await answer.json() == "own"


async def test_each_request_is_one_line_of_the_access_log(serving, caplog):
    service = Service("s")

    @service.function(on.get("/hello/{name}"))
    async def hello(name: str, token: str) -> str:
        return name

    caplog.set_level(logging.INFO, "eventmesh.access")
    async with serving(service) as served, served.http.get("/hello/you?token=secret") as answer:
        id = answer.headers["x-eventmesh-invocation-id"]

    (record,) = [one for one in caplog.records if one.name == "eventmesh.access"]
    assert (record.method, record.path, record.status) == ("GET", "/hello/you", 200)
    assert (record.bytes, record.remote, record.invocation_id) == (5, "127.0.0.1", id)
    assert record.duration_ms >= 0
    assert "secret" not in str(vars(record))


async def test_without_an_access_log_nothing_is_written(serving, caplog):
    caplog.set_level(logging.WARNING, "eventmesh.access")
    async with serving(Service("s")) as served, served.http.get("/") as answer:
        assert answer.status == 404
    assert not [one for one in caplog.records if one.name == "eventmesh.access"]


async def test_https_is_served_with_a_certificate(serving, authority, certificate):
    service = Service("s")

    @service.function(on.post("/"))
    async def echo(text: str) -> str:
        return text

    context = ssl.create_default_context()
    authority.configure_trust(context)
    text = "x" * 200_000
    async with serving(service, **certificate) as served:
        assert served.url.startswith("https://127.0.0.1:")
        async with served.http.post("/", json={"text": text}, ssl=context) as answer:
            assert await answer.json() == text


async def test_a_certificate_that_cannot_be_used_is_an_error_with_advice(serving, certificate):
    certificate["http_tls_key"] = certificate["http_tls_certificate"]
    with pytest.raises(SettingsError, match="PEM files"):
        async with serving(Service("s"), **certificate):
            pytest.fail("it serves without a key")
