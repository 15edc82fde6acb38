"""Several addresses of one broker: a proxy each, as nodes of a cluster would have."""

from contextlib import AsyncExitStack

import pytest
from tcp_proxy import proxying

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, to_queue


@pytest.fixture
async def proxies(rabbitmq_url):
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(proxying(rabbitmq_url)) for _ in range(3)]


@pytest.fixture
def url(rabbitmq_url, proxies):
    """The URL with all of them, one of which is a name."""
    places = [f"127.0.0.1:{proxy.port}" for proxy in proxies[1:]]
    first = proxies[0].url(rabbitmq_url).replace("127.0.0.1", "localhost")
    return first.replace(f":{proxies[0].port}", f":{proxies[0].port},{','.join(places)}")


async def test_every_connection_moves_to_the_next_address(url, proxies, function, soon, until):
    queue = inbox(function)
    received = []
    async with RabbitBroker(url, name=function) as broker:
        await broker.declare([queue])
        async with broker.consume(queue, received.append, prefetch=10):
            for number in range(3):
                await soon(broker.publish(to_queue(queue), Message(b"", f"m{number}", 1.0)))
                await until(lambda number=number: len(received) > number)
                received[-1].ack()
                assert await soon(broker.depth(queue)) == 0
                (used,) = [proxy for proxy in proxies if proxy.connections]
                assert used.connections == 3
                if number < 2:
                    await used.refuse()
                    used.reset()
                    await until(lambda used=used: not used.connections)
    assert [delivery.message.id for delivery in received] == ["m0", "m1", "m2"]


async def test_the_doctor_looks_at_any_of_them(url, proxies, function, soon):
    for proxy in proxies[:2]:
        await proxy.refuse()
    async with RabbitInspector(url, function) as inspector:
        assert (await soon(inspector.server())).product == "RabbitMQ"
        assert await soon(inspector.describe(inbox(function))) is None
    assert proxies[2].accepted
