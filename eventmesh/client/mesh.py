"""A mesh seen from outside: its broker, and the processes that answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.engine.codecs.trust import gateways_in
from eventmesh.presence import Observer, observe
from eventmesh.presence.answers import wait_for_answers

MESH_CONNECT_SECONDS: Final = 15.0
"""Seconds that a command tries to reach the broker."""


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


async def list_announced_functions(broker: Broker, url: str) -> set[str]:
    """Return the names of the functions that processes of the mesh announce.

    `url` is that of the broker. Raises BrokerUnavailable if the processes cannot be asked.
    """
    clock = SystemClock()
    async with observe(broker, clock, lambda _: None, gateways_in(url)) as observer:
        await wait_for_answers(observer, broker, clock)
        instances = list(observer.instances.values())
    return {function["name"] for instance in instances for function in instance.functions}
