"""Several servers at one socket that somebody else has bound."""

import asyncio
import os
import socket

import pytest

from eventmesh import Service, SettingsError, on

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


async def test_nobody_is_let_in_before_one_listens(serving, bound):
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*bound.getsockname())
    async with serving(greeter("hello"), **at(bound)) as served:
        assert served.url == f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with served.http.get("/") as answer:
            assert await answer.json() == "hello"


async def test_a_request_that_is_on_its_way_is_answered_by_a_server_that_leaves(serving, bound):
    leave = asyncio.Event()
    connected = asyncio.get_running_loop().create_future()

    async def serve():
        async with serving(greeter("hello"), **at(bound)) as served:
            connected.set_result([await served.connect(), await served.connect()])
            await leave.wait()

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
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


async def test_an_idle_connection_does_not_keep_a_server_that_leaves(serving, bound):
    async with serving(greeter("hello"), **at(bound)) as served:
        reader, writer = await served.connect()
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()


async def test_who_comes_between_two_servers_is_answered_by_the_second(serving, bound):
    async with serving(greeter("first"), **at(bound)):
        pass
    reader, writer = await asyncio.open_connection(*bound.getsockname())
    writer.write(REQUEST)
    async with serving(greeter("second"), **at(bound)), asyncio.timeout(30):
        assert b'"second"' in await reader.readuntil(b'"second"')
    writer.close()


async def test_what_is_no_socket_is_an_error_with_advice(serving, tmp_path):
    with (tmp_path / "file").open("w") as file:
        descriptor = file.fileno()
        with pytest.raises(SettingsError, match=f"EVENTMESH_HTTP_FD={descriptor} is no socket"):
            async with serving(greeter("hello"), http_fd=descriptor):
                pytest.fail("it serves at a file")
