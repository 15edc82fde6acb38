"""The page at `/` that a process under development shows."""

from contextlib import asynccontextmanager
from functools import partial

import pytest
from aiohttp import ClientSession

from eventmesh import Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.settings import Settings


@pytest.fixture
def service():
    shop = Service("shop")

    @shop.function(on.get("/orders"), on.get("/orders/{id}"), on.event("order.*"))
    async def show(id: str = "") -> None:
        """Show <all> orders.

        Not this.
        """

    @shop.function
    async def pack() -> None: ...

    return shop


@asynccontextmanager
async def developing(*services, **settings):
    links = {"Metrics": "http://127.0.0.1:9464/metrics?a&b"}
    http = partial(serve_functions, landing_links=lambda: links)
    async with (
        MemoryBroker() as broker,
        host_services(services, broker, Settings(http_port=0, **settings), http=http) as host,
        ClientSession(host.addresses["http"]) as client,
    ):
        yield client


async def test_it_lists_functions_and_links(service):
    async with developing(service) as client, client.get("/") as answer:
        page = await answer.text()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>shop</title>" in page
    assert '<a href="/orders">GET /orders</a><br>GET /orders/{id}<br>event order.*' in page
    assert "<td>Show &lt;all&gt; orders.</td>" in page
    assert "<code>shop.pack</code></td><td>by name only</td>" in page
    assert '<a href="/docs">' in page
    assert '<a href="http://127.0.0.1:9464/metrics?a&amp;b">Metrics</a>' in page


async def test_it_loads_nothing_from_elsewhere(service):
    async with developing(service) as client, client.get("/") as answer:
        page = await answer.text()
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert not any(loads in page for loads in ("<script", "<img", "<link", " src=", "@import"))


async def test_a_function_at_that_route_takes_its_place(service):
    @service.function(on.get("/"))
    async def home() -> str:
        return "mine"

    async with developing(service) as client, client.get("/") as answer:
        assert await answer.json() == "mine"


async def test_there_is_none_without_the_docs(service):
    async with developing(service, docs=False) as client, client.get("/") as answer:
        assert answer.status == 404


async def test_there_is_none_in_other_processes(serving, service):
    async with serving(service) as served, served.http.get("/") as answer:
        assert answer.status == 404
