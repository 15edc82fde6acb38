"""Publishing: each message has one outcome in bounded time, and so many are under way."""

import asyncio

import pytest
from fake_rabbitmq import Published, fake_rabbit
from pamqp import commands

from eventmesh.brokers.rabbitmq.link import Link
from eventmesh.brokers.rabbitmq.publishing import MAX_BODY, Publisher
from eventmesh.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    PayloadInvalid,
    PayloadTooLarge,
    Throttled,
)
from eventmesh.topology import Route, to_function

ROUTE = to_function("shop.place")
TIMEOUT = 10.0


class Published_:  # noqa: N801 a name for what `publisher` gives
    """A publisher with a window of three, and what a test needs with it."""

    def __init__(self, link, publisher, rabbit):
        self.link = link
        self.publisher = publisher
        self.rabbit = rabbit

    async def session(self):
        return await self.rabbit.session()


@pytest.fixture
async def link(rabbit):
    return Link(rabbit.address, "test", None)


@pytest.fixture
def make(rabbit, clock, keeping_open):
    """Makes a publisher whose link is not open yet."""

    def make(timeout=TIMEOUT, window=3, address=None):
        publishers = []
        link = Link(address or rabbit.address, "test", lambda one: publishers[0].prepare(one))
        publishers.append(Publisher(link, clock, timeout, window))
        return link, publishers[0]

    return make


@pytest.fixture
async def open_publisher(make, keeping_open, soon):
    link, publisher = make()
    async with keeping_open(link):
        await soon(link.wait_connected())
        yield publisher


async def outcome(publish):
    """What a publish comes to: None, or the error."""
    try:
        return await publish
    except (BrokerUnavailable, FunctionNotFound, Throttled) as error:
        return error


@pytest.fixture
async def tasks():
    async with asyncio.TaskGroup() as group:
        yield group
