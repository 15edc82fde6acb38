"""Several servers at one socket that somebody else has bound."""

import asyncio
import os
import socket
import ssl

import pytest
from waiting import DEADLINE

from eventmesh import Service, SettingsError, on
from eventmesh.http.server.server import HANDOVER

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def bound():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def greeter(text):
    service = Service("greeter")

    @service.function(on.get("/"))
    async def greet() -> str:
        return text

    return service


def at(bound):
    """The settings of a server at that socket; it closes what it is given."""
    return {"http_fd": os.dup(bound.fileno())}


class SecureClient:
    """A client whose part of a TLS connection a test sees: what ends its handshake waits for it."""

    def __init__(self, reader, writer, authority):
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self._reader, self._writer = reader, writer
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_hostname="127.0.0.1")

    async def shake_hands(self):
        """Until the last step, which is ours and goes with the first data."""
        await self._once_received(self._tls.do_handshake)

    def write(self, data):
        self._tls.write(data)
        self._writer.write(self._sent.read())

    async def read(self):
        return await self._once_received(self._tls.read)

    def close(self):
        self._writer.close()

    async def _once_received(self, operation):
        while True:
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._writer.write(self._sent.read())
                self._received.write(await self._reader.read(65536))


async def test_nobody_is_let_in_before_one_listens(serving, bound):
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*bound.getsockname())
    async with serving(greeter("hello"), **at(bound)) as served:
        assert served.url == f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with served.http.get("/") as answer:
            assert await answer.json() == "hello"


async def test_a_request_that_is_on_its_way_is_answered_by_a_server_that_leaves(
    serving, bound, manual_clock
):
    leave = asyncio.Event()
    connected = asyncio.get_running_loop().create_future()

    async def serve():
        async with serving(greeter("hello"), clock=manual_clock, **at(bound)) as served:
            connected.set_result([await served.connect(), await served.connect()])
            await leave.wait()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(DEADLINE):
        tasks.create_task(serve())
        fresh, used = await connected
        used[1].write(REQUEST)
        assert b'"hello"' in await used[0].readuntil(b'"hello"')
        leave.set()
        for _ in range(10):
            await asyncio.sleep(0)
        for reader, writer in (fresh, used):
            writer.write(REQUEST)
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"Connection: close" in answer
            writer.close()
        await manual_clock.advance(HANDOVER)


async def test_a_client_amid_its_handshake_is_answered_by_a_server_that_leaves(
    serving, bound, manual_clock, authority, certificate
):
    leave = asyncio.Event()
    connected = asyncio.get_running_loop().create_future()

    async def serve():
        service = greeter("hello")
        async with serving(service, clock=manual_clock, **at(bound), **certificate) as served:
            connected.set_result(await served.connect())
            await leave.wait()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(DEADLINE):
        serving_it = tasks.create_task(serve())
        client = SecureClient(*await connected, authority)
        await client.shake_hands()
        leave.set()
        await manual_clock.settle()
        assert not serving_it.done()
        client.write(REQUEST)
        assert (await client.read()).startswith(b"HTTP/1.1 200 ")
        client.close()
        await manual_clock.advance(HANDOVER)


async def test_an_idle_connection_does_not_keep_a_server_that_leaves(serving, bound):
    async with serving(greeter("hello"), **at(bound)) as served:
        reader, writer = await served.connect()
    async with asyncio.timeout(DEADLINE):
        assert await reader.read() == b""
    writer.close()


async def test_who_comes_between_two_servers_is_answered_by_the_second(serving, bound):
    async with serving(greeter("first"), **at(bound)):
        pass
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    writer.write(REQUEST)
    async with serving(greeter("second"), **at(bound)), asyncio.timeout(DEADLINE):
        assert b'"second"' in await reader.readuntil(b'"second"')
    writer.close()


async def test_what_is_no_socket_is_an_error_with_advice(serving, tmp_path):
    with (tmp_path / "file").open("w") as file:
        descriptor = file.fileno()
        with pytest.raises(SettingsError, match=f"EVENTMESH_HTTP_FD={descriptor} is not a socket"):
            async with serving(greeter("hello"), http_fd=descriptor):
                pytest.fail("it serves at a file")
