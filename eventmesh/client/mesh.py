"""A look at a mesh from outside: its broker, and the processes that answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import PREFIX, Route
from eventmesh.presence import Observer, observe

CONNECT_SECONDS: Final = 15.0
"""How long a command tries to reach the broker."""

_NO_QUEUE: Final = Route("", f"{PREFIX}.nobody", mandatory=False, name="nobody")


@asynccontextmanager
async def open_mesh(url: str, name: str) -> AsyncGenerator[tuple[Broker, Observer]]:
    """The broker at a URL, and who is there; it takes a moment until all have answered.

    `name` is that of the command. Raises SettingsError for a URL that leads to no mesh of several
    processes, and BrokerUnavailable.
    """
    check_shared(url)
    async with (
        open_broker(url, f"eventmesh {name}", connect_timeout=CONNECT_SECONDS) as broker,
        observe(broker, SystemClock(), lambda _: None) as observer,
    ):
        yield broker, observer


async def check_accepting(broker: Broker) -> None:
    """Raises BrokerUnavailable while the broker takes no messages: nobody can answer then.

    RabbitMQ tells a connection of an alarm when that has published something: here, the question
    who is there. So it knows a moment later.
    """
    await broker.publish(_NO_QUEUE, Message(b"", new_id(), SystemClock().now()))
