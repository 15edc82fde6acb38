"""A function that answers all paths and all methods: beside others, the APIs, and a gateway."""

from contextlib import AsyncExitStack

import pytest
from aiohttp import ClientSession
from openapi_spec_validator import validate

from eventmesh import Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services
from eventmesh.service import Cors

SETTINGS = Settings(http_port=0, grace=5)
ORIGIN = "https://shop.example.org"


def site():
    service = Service("site", cors=Cors(origins=[ORIGIN], methods=["GET"]))

    @service.function(on.get("/orders/{number}"))
    async def order(number: int) -> dict:
        return {"order": number}

    @service.function(on.post("/orders/{number}"))
    async def change(number: int) -> dict:
        return {"changed": number}

    @service.function(on.any("/orders/{number}"))
    async def other(number: int, body: bytes) -> dict:
        return {"other": number, "bytes": len(body)}

    @service.function(on.any("/{path:path}"))
    async def rest(path: str, body: bytes, q: str = "") -> dict:
        return {"rest": path, "bytes": len(body), "q": q}

    return service


@pytest.fixture(params=["its own server", "a gateway"])
async def http(request):
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(MemoryBroker())
        own = Settings(http_port=0, grace=5, api=False)
        if request.param == "a gateway":
            await stack.enter_async_context(serve_services([site()], broker, SETTINGS))
            served = await stack.enter_async_context(serve_gateway(broker, own))
        else:
            served = await stack.enter_async_context(serve_services([site()], broker, own))
        url = served.addresses["http"]
        yield await stack.enter_async_context(ClientSession(url))


@pytest.mark.parametrize(
    ("method", "path", "body", "answer"),
    [
        ("GET", "/", None, {"rest": "", "bytes": 0, "q": ""}),
        ("GET", "/a/b?q=7", None, {"rest": "a/b", "bytes": 0, "q": "7"}),
        ("POST", "/a%2Fb", b"xyz", {"rest": "a/b", "bytes": 3, "q": ""}),
        ("DELETE", "/a", b"xyz", {"rest": "a", "bytes": 3, "q": ""}),
        ("GET", "/orders/7", None, {"order": 7}),
        ("POST", "/orders/7", None, {"changed": 7}),
        ("PUT", "/orders/7", b"xyz", {"other": 7, "bytes": 3}),
        ("PUT", "/orders/7/lines", b"x", {"rest": "orders/7/lines", "bytes": 1, "q": ""}),
    ],
)
async def test_what_no_other_route_answers(http, method, path, body, answer):
    async with http.request(method, path, data=body) as response:
        assert (response.status, await response.json()) == (200, answer)


@pytest.mark.parametrize(
    "path",
    [
        "/_eventmesh/queues",
        "/%5feventmesh/queues",
        "/2015-03-31/functions/site.rest/invocations",
        "/2015-03-31%2ffunctions/site.rest/invocations",
    ],
)
async def test_the_paths_of_the_apis_are_nobody_s_where_they_are_off(http, path):
    for method in ("GET", "POST", "DELETE"):
        async with http.request(method, path) as response:
            assert response.status == 404


async def test_options_are_answered_by_the_server(http):
    ask = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    async with http.options("/a/b", headers=ask) as response:
        assert (response.status, response.headers["Access-Control-Allow-Methods"]) == (204, "GET")
    async with http.options("/a/b") as response:
        assert response.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
    async with http.options(
        "/a/b", headers={**ask, "Access-Control-Request-Method": "PUT"}
    ) as response:
        assert "Access-Control-Allow-Methods" not in response.headers


async def test_the_document_has_each_method(http):
    async with http.get("/openapi.json") as response:
        document = await response.json()
    validate(document)
    assert list(document["paths"]["/{path}"]) == ["get", "post", "put", "patch", "delete"]
    operations = document["paths"]["/orders/{number}"]
    assert operations["get"]["operationId"] == "site.order"
    assert operations["put"]["operationId"].startswith("site.other")
    assert "requestBody" not in document["paths"]["/{path}"]["get"]
