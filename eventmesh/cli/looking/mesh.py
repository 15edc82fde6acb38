"""Opens a mesh to look into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.client.mesh import MESH_CONNECT_SECONDS
from eventmesh.console.sources import MeshSource, open_mesh_source
from eventmesh.engine.codecs.trust import gateways_in
from eventmesh.presence.answers import check_accepting


@asynccontextmanager
async def look_at_mesh(url: str, name: str, wait: float) -> AsyncGenerator[MeshSource]:
    """Open the broker at a URL, and give its processes `wait` seconds to announce themselves.

    `name` is that of the command. Raises SettingsError for a broker inside one process, and
    BrokerUnavailable.
    """
    check_shared(url)
    async with (
        open_broker(url, f"eventmesh {name}", connect_timeout=MESH_CONNECT_SECONDS) as broker,
        open_mesh_source(broker, gateways_in(url), SystemClock()) as source,
    ):
        await asyncio.sleep(wait)
        await check_accepting(broker)
        yield source
