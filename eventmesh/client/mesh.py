"""A mesh seen from outside: its broker, and the processes that answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import SystemClock, TimeLimit
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.engine.codecs.trust import gateways_in
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import NOBODY, Route
from eventmesh.presence import Observer, observe

MESH_CONNECT_SECONDS: Final = 15.0
"""Seconds that a command tries to reach the broker."""

ASK_SECONDS: Final = 5.0
"""Seconds to wait until all processes of a mesh were asked and had time to answer."""

_NO_QUEUE: Final = Route("", NOBODY, mandatory=False, name="nobody")


@asynccontextmanager
async def open_mesh(url: str, name: str) -> AsyncGenerator[tuple[Broker, Observer]]:
    """Open the broker at a URL and observe its processes, which take a moment to answer.

    `name` is that of the command. Raises SettingsError for a broker inside one process, and
    BrokerUnavailable.
    """
    check_shared(url)
    async with (
        open_broker(url, f"eventmesh {name}", connect_timeout=MESH_CONNECT_SECONDS) as broker,
        observe(broker, SystemClock(), lambda _: None, gateways_in(url)) as observer,
    ):
        yield broker, observer


async def check_accepting(broker: Broker) -> None:
    """Raise BrokerUnavailable while the broker takes no messages: no process can answer then.

    RabbitMQ reports an alarm to a connection after that has published something, such as the
    question which processes run, so call this a moment later.
    """
    await broker.publish(_NO_QUEUE, Message(b"", new_id(), SystemClock().now()))


async def list_announced_functions(broker: Broker, url: str) -> set[str]:
    """Return the names of the functions that processes of the mesh announce.

    `url` is that of the broker. Raises BrokerUnavailable if the processes cannot be asked.
    """
    clock = SystemClock()
    async with observe(broker, clock, lambda _: None, gateways_in(url)) as observer:
        try:
            with TimeLimit(clock, ASK_SECONDS):
                await observer.complete.wait()
        except TimeoutError:
            await check_accepting(broker)
            raise BrokerUnavailable(
                f"the processes of the mesh could not be asked within {ASK_SECONDS:g} s: try again"
            ) from None
        instances = list(observer.instances.values())
    return {function["name"] for instance in instances for function in instance.functions}
