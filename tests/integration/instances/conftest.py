"""A host with the isolated service, on an embedded broker and the real clock."""

import tempfile
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import isolated
import pytest
from aiohttp import ClientSession

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.settings import Settings


@pytest.fixture
def open_folder():
    """A folder for the users of instances, too: those of pytest are closed to them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.fixture
async def embedded():
    async with MemoryBroker() as broker:
        yield broker


@pytest.fixture
def hosted():
    """Run services with real instances, on the real clock if none is given."""

    @asynccontextmanager
    async def hosted(*services, broker=None, http=None, clock=None):
        carrier = MemoryBroker(clock) if broker is None else nullcontext(broker)
        settings = Settings(http_port=0, grace=5)
        async with (
            carrier as opened,
            host_services(services, opened, settings, http=http, clock=clock) as host,
        ):
            yield host

    return hosted


@pytest.fixture
async def routes(hosted):
    """The address of the isolated service's routes, and a client for them."""
    async with (
        hosted(isolated.app, http=serve_functions) as host,
        ClientSession(host.addresses["http"]) as http,
    ):
        yield http
