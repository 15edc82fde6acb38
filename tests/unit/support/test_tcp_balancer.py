"""The load balancer of the tests spreads connections, and goes around what is away."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import tcp_balancer
from tcp_balancer import balancing


@asynccontextmanager
async def saying(name):
    """A server that says its name and waits for the client to leave."""

    async def greet(reader, writer):
        writer.write(name)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()


@pytest.fixture
async def balancer():
    async with AsyncExitStack() as stack:
        targets = [await stack.enter_async_context(saying(name)) for name in (b"a", b"b", b"c")]
        yield await stack.enter_async_context(balancing(targets))


async def ask(balancer):
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    try:
        return await reader.read(1)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_round_robin(balancer, soon):
    assert [await soon(ask(balancer)) for _ in range(6)] == [b"a", b"b", b"c"] * 2


async def test_around_one_that_is_cut_off(balancer, soon, monkeypatch):
    monkeypatch.setattr(tcp_balancer, "CONNECT_SECONDS", 0.05)
    balancer.proxies[1].stall()
    assert b"b" not in [await soon(ask(balancer)) for _ in range(4)]
    await balancer.proxies[1].forward()


async def test_nobody_is_there(balancer, soon, monkeypatch):
    monkeypatch.setattr(tcp_balancer, "CONNECT_SECONDS", 0.05)
    for proxy in balancer.proxies:
        proxy.stall()
    assert await soon(ask(balancer)) == b""
