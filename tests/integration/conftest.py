"""Services that run and are reached over HTTP."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trustme
from aiohttp import ClientSession, web
from waiting import DEADLINE

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.engine import caller
from eventmesh.host import host_services
from eventmesh.instances import lifecycle, workshop
from eventmesh.instances.zygote import client as zygote_client
from eventmesh.lambdas.extensions import delivery, platform
from eventmesh.model.settings import Settings
from eventmesh.store import database
from eventmesh.testing.clock import ManualClock


@dataclass
class Served:
    """Services that run: their address, a client for it, and the broker under them."""

    url: str
    http: ClientSession
    broker: MemoryBroker
    host: object

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    async def connect(self):
        """A connection to which a test writes bytes as it likes."""
        return await asyncio.open_connection("127.0.0.1", self.port)


@pytest.fixture(autouse=True)
def patient_callers(monkeypatch):
    """A busy machine: how long a process takes to start decides no test, but where one says so."""
    monkeypatch.setattr(caller, "DEFAULT_TIMEOUT", DEADLINE)
    monkeypatch.setattr(lifecycle, "INIT_TIMEOUT", DEADLINE)
    monkeypatch.setattr(zygote_client, "FORK_TIMEOUT", DEADLINE)
    monkeypatch.setattr(delivery, "TIMEOUT", DEADLINE)


@pytest.fixture
def patient_stop(monkeypatch):
    """Wait as long for instances that close themselves, with their extensions."""
    for module in (lifecycle, workshop):
        monkeypatch.setattr(module, "STOP_TIMEOUT", DEADLINE)
    monkeypatch.setattr(platform, "EXTERNAL_TIMEOUT", DEADLINE)


@pytest.fixture
def patient_stores(monkeypatch):
    """Wait as long for a database that is there, and for whoever else writes to its file."""
    for name in ("CONNECT_SECONDS", "POOL_SECONDS", "STATEMENT_SECONDS", "_BUSY_SECONDS"):
        monkeypatch.setattr(database, name, DEADLINE)


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def store_url(request, tmp_path, patient_stores):
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("pooled_url" if request.param == "pgbouncer" else "postgres_url")


@asynccontextmanager
async def serving_services(*services, clock=None, **settings):
    settings = {"http_port": 0, **settings}
    async with (
        MemoryBroker(clock) as broker,
        host_services(services, broker, Settings(**settings), clock=clock) as host,
        ClientSession(host.addresses["http"]) as http,
    ):
        yield Served(host.addresses["http"], http, broker, host)


@pytest.fixture
def serving():
    """Run services while entered, on an embedded broker and a free port."""
    return serving_services


@pytest.fixture
def manual_clock():
    """A clock that the test moves, for the limits that take long."""
    return ManualClock()


@pytest.fixture
def authority():
    """Whoever signs the certificates of a test's servers."""
    return trustme.CA()


@pytest.fixture
def certificate(authority, tmp_path):
    """The settings of a server that speaks TLS."""
    issued = authority.issue_cert("127.0.0.1")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    for pem in issued.cert_chain_pems:
        pem.write_to_path(chain, append=True)
    issued.private_key_pem.write_to_path(key)
    return {"http_tls_certificate": str(chain), "http_tls_key": str(key)}


@pytest.fixture
def other_server():
    """A server of somebody else's, which answers each request with what a function gives."""

    @asynccontextmanager
    async def serve(answer):
        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    return serve
