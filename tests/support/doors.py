"""A service's own HTTP port and a gateway to it, at which clients are to get the same answers."""

from contextlib import asynccontextmanager

from aiohttp import ClientSession

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services


@asynccontextmanager
async def both_doors(service, **settings):
    """Give clients of the service, and of a gateway to it."""
    given = Settings(http_port=0, grace=5, **settings)
    async with (
        MemoryBroker() as broker,
        serve_services([service], broker, given) as own,
        serve_gateway(broker, given) as gateway,
        ClientSession(own.addresses["http"]) as first,
        ClientSession(gateway.addresses["http"]) as second,
    ):
        yield first, second
