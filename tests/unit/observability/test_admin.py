import socket

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from eventmesh.model.errors import SettingsError
from eventmesh.observability.admin import HealthStatus, admin_server

LOOPBACK = "127.0.0.1"


@pytest.fixture
def registry():
    registry = CollectorRegistry()
    Gauge("eventmesh_waiting", "Who waits.", registry=registry).set(7)
    return registry


class Process:
    """What the listener shows, to be changed by a test."""

    def __init__(self, registry):
        self.registry = registry
        self.alive = HealthStatus(ok=True, checks={})
        self.ready = HealthStatus(ok=True, checks={"broker": "connected"})

    async def metrics(self):
        return self.registry

    async def health(self):
        return self.alive

    async def readiness(self):
        return self.ready


@pytest.fixture
def process(registry):
    return Process(registry)


@pytest.fixture
async def admin(process):
    """The listener, asked by a real client: path and headers to status, headers and body."""
    async with (
        admin_server(LOOPBACK, 0, process) as url,
        aiohttp.ClientSession(url) as client,
    ):

        async def ask(path, method="GET", **headers):
            async with client.request(method, path, headers=headers) as response:
                return response, await response.read()

        yield ask


async def test_metrics_in_the_text_format(admin):
    response, body = await admin("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    (family,) = read_text(body.decode())
    assert (family.name, family.samples[0].value) == ("eventmesh_waiting", 7)


async def test_metrics_as_openmetrics_for_who_asks_for_it(admin):
    accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3,*/*;q=0.1"
    response, body = await admin("/metrics", Accept=accept)
    assert response.content_type == "application/openmetrics-text"
    (family,) = read_openmetrics(body.decode())
    assert family.samples[0].value == 7


async def test_health(admin, process):
    process.ready = HealthStatus(ok=False, checks={"broker": "away"})
    response, body = await admin("/healthz")
    assert (response.status, body) == (200, b'{"status":"ok"}')
    assert response.content_type == "application/json"
    process.alive = HealthStatus(ok=False, checks={"worker 1": "does not answer"})
    response, body = await admin("/healthz")
    assert response.status == 503
    assert body == b'{"status":"not ok","checks":{"worker 1":"does not answer"}}'


async def test_readiness_gives_its_reasons_and_changes(admin, process):
    response, body = await admin("/readyz")
    assert response.status == 200
    assert body == b'{"status":"ready","checks":{"broker":"connected"}}'
    process.ready = HealthStatus(ok=False, checks={"broker": "away since 12:00:07"})
    response, body = await admin("/readyz")
    assert response.status == 503
    assert body == b'{"status":"not ready","checks":{"broker":"away since 12:00:07"}}'


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("POST", "/metrics", 405), ("HEAD", "/healthz", 200)],
)
async def test_nothing_else_is_served(admin, method, path, status):
    response, _ = await admin(path, method)
    assert response.status == status


@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/readyz", "/nowhere"])
async def test_a_name_that_was_made_to_point_here_reaches_nothing(admin, path):
    response, body = await admin(path, Host="rebind.evil.example:9464")
    assert response.status == 421
    assert b"local names only" in body
    assert (await admin(path, Host="localhost:9464"))[0].status != 421


async def test_another_address_answers_for_any_name(process):
    async with (
        admin_server("0.0.0.0", 0, process) as url,
        aiohttp.ClientSession(url.replace("0.0.0.0", LOOPBACK)) as client,
        client.get("/healthz", headers={"Host": "10.1.2.3:9464"}) as response,
    ):
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_port_that_is_taken_is_a_clear_error(process):
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            SettingsError, match=f"cannot use 127.0.0.1:{port} .*EVENTMESH_ADMIN_PORT"
        ):
            async with admin_server(LOOPBACK, port, process):
                pytest.fail("it listens where somebody else does")


async def test_the_port_is_free_again_afterwards(process):
    async with admin_server(LOOPBACK, 0, process) as url:
        port = int(url.rpartition(":")[2])
    async with admin_server(LOOPBACK, port, process) as again:
        assert again == url == f"http://127.0.0.1:{port}"
