"""Services behind a gateway: the same answers as from their own servers."""

import asyncio
import json
import logging
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

import pytest
from aiohttp import ClientSession
from openapi_spec_validator import validate
from pydantic import BaseModel

from eventmesh import Context, Header, Problem, Response, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.gateway.absent import REMEMBER_SECONDS
from eventmesh.gateway.gateway import FORGET_SECONDS
from eventmesh.http.server.server import HANDOVER
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.settings import Settings
from eventmesh.presence.observer import ANSWER_SECONDS
from eventmesh.processes.worker import DISCOVERY_SECONDS, serve_gateway, serve_services

SETTINGS = Settings(http_port=0, grace=5)
VARYING = re.compile(rb',?"(invocation_)?id":"[0-9a-f]{32}"|invocations/[0-9a-f]{32}')


class Order(BaseModel):
    item: str
    count: int = 1


def shop() -> Service:  # noqa: C901 - one function of each kind
    service = Service("shop", version="1")

    @service.function(on.get("/hello/{name}"))
    async def hello(
        name: str,
        loud: bool = False,
        tag: list[str] = [],  # noqa: B006 - as users write it
        colour: Annotated[str, Header("x-colour")] = "",
    ) -> dict:
        return {"name": name, "loud": loud, "tag": tag, "colour": colour}

    @service.function(on.post("/orders", status=201), max_payload=1000)
    async def order(order: Order) -> Order:
        return order

    @service.function(on.post("/later", mode="async"))
    async def later(order: Order) -> None: ...

    @service.function(on.get("/page"))
    async def page() -> Response:
        return Response("<p>hi</p>", 203, {"X-Own": "yes", "X-Other": "é"}, "text/html")

    @service.function(on.delete("/nothing", status=204))
    async def nothing() -> None: ...

    @service.function(on.get("/sold-out"))
    async def sold_out() -> None:
        raise Problem(409, "sold out", headers={"X-Stock": "0"}, stock=0)

    @service.function(on.get("/broken"))
    async def broken() -> None:
        raise ValueError("secret")

    @service.function(on.get("/bad-header"))
    async def bad_header() -> Response:
        return Response(None, headers={"X-Bad": "two\nlines"})

    @service.function(on.put("/reversed"))
    async def reversed_bytes(data: bytes) -> bytes:
        return data[::-1]

    @service.function(on.get("/count"))
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    @service.function(on.get("/slow"), timeout=0.05)
    async def slow() -> None:
        await asyncio.get_running_loop().create_future()

    return service


ASKED = [
    ("GET", "/hello/you", {}),
    ("GET", "/hello/%C3%A4%2F%20x?loud=yes&tag=a&tag=b%20c", {"headers": {"x-colour": "grün"}}),
    ("HEAD", "/hello/you", {}),
    ("GET", "/hello/you?loud=perhaps", {}),
    ("GET", "/hello/you?loud=%FF", {}),
    ("POST", "/orders", {"json": {"item": "tea"}}),
    ("POST", "/orders", {"json": {"item": 1, "count": "x"}}),
    ("POST", "/orders", {"data": b"{item", "headers": {"content-type": "application/json"}}),
    ("POST", "/orders", {"headers": {"content-type": "application/json"}}),
    ("POST", "/orders", {"data": b"a=1", "headers": {"content-type": "text/plain"}}),
    ("POST", "/orders", {"json": {"item": "x" * 2000}}),
    ("POST", "/later", {"json": {"item": "tea"}}),
    ("POST", "/later", {"json": {"item": 1}}),
    ("GET", "/page", {}),
    ("DELETE", "/nothing", {}),
    ("GET", "/sold-out", {}),
    ("GET", "/broken", {}),
    ("GET", "/bad-header", {}),
    ("PUT", "/reversed", {"data": b"\x00\n\xff{", "headers": {"content-type": "image/png"}}),
    ("GET", "/count?to=3", {}),
    ("GET", "/count?to=0", {}),
    ("GET", "/count?to=3", {"headers": {"accept": "text/event-stream"}}),
    ("GET", "/count?to=x", {}),
    ("GET", "/slow", {}),
    ("GET", "/nowhere", {}),
    ("PUT", "/orders", {"json": {}}),
    ("OPTIONS", "/orders", {}),
]


class Mesh:
    """Services on one broker, started and stopped by a test, and a gateway to them."""

    def __init__(self, broker, stack):
        self._broker = broker
        self._stack = stack

    @asynccontextmanager
    async def serving(self, *services):
        async with (
            serve_services(services, self._broker, SETTINGS) as host,
            ClientSession(host.addresses["http"]) as http,
        ):
            yield http

    async def start(self, *services):
        return await self._stack.enter_async_context(self.serving(*services))

    async def gateway(self, clock=None):
        host = await self._stack.enter_async_context(serve_gateway(self._broker, SETTINGS, clock))
        return await self._stack.enter_async_context(ClientSession(host.addresses["http"]))


@pytest.fixture
async def mesh():
    async with MemoryBroker() as broker, AsyncExitStack() as stack:
        yield Mesh(broker, stack)


async def answer(http, method, path, options):
    """All of an answer that does not differ from time to time."""
    async with http.request(method, path, **options) as answered:
        headers = {name.lower(): text for name, text in answered.headers.items()}
        for name in ("date", "x-eventmesh-invocation-id", "content-length", "transfer-encoding"):
            headers.pop(name, None)
        headers = {
            name: VARYING.sub(b"", text.encode(errors="surrogateescape"))
            for name, text in headers.items()
        }
        return answered.status, headers, VARYING.sub(b"", await answered.read())


async def test_each_request_is_answered_as_by_the_service_itself(mesh):
    service, gateway = await mesh.start(shop()), await mesh.gateway()
    for asked in ASKED:
        assert await answer(gateway, *asked) == await answer(service, *asked), asked


async def test_a_header_with_several_values_is_passed_on(mesh):
    service = Service("shop")

    @service.function(on.get("/"))
    async def sign_in() -> Response:
        return Response(None, headers={"Set-Cookie": ("a=1", "b=2")})

    await mesh.start(service)
    gateway = await mesh.gateway()
    async with gateway.get("/") as answered:
        assert answered.headers.getall("Set-Cookie") == ["a=1", "b=2"]


async def test_statuses_that_are_worth_it(mesh):
    await mesh.start(shop())
    gateway = await mesh.gateway()
    statuses = [(await answer(gateway, *asked))[0] for asked in ASKED]
    assert statuses == [
        *(200, 200, 200, 422, 400),
        *(201, 422, 422, 422, 415, 413),
        *(202, 422, 203, 204, 409, 500, 500),
        *(200, 200, 200, 200, 422, 504, 404, 405, 204),
    ]


async def test_who_finds_the_line_full_is_told_when_to_come_again(mesh):
    service = Service("shop")
    running, enough = asyncio.Event(), asyncio.Event()

    @service.function(on.get("/narrow"), concurrency=1, max_pending=0)
    async def narrow() -> None:
        running.set()
        await enough.wait()

    await mesh.start(service)
    gateway = await mesh.gateway()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(answer(gateway, "GET", "/narrow", {}))
        await running.wait()
        status, headers, _ = await answer(gateway, "GET", "/narrow", {})
        enough.set()
    assert (status, "retry-after" in headers) == (429, True)
    assert first.result()[0] == 200


async def test_services_come_and_go(mesh):
    gateway = await mesh.gateway()
    asked = ("GET", "/hello/you", {})
    assert (await answer(gateway, *asked))[0] == 404
    async with mesh.serving(shop()):
        while (await answer(gateway, *asked))[0] == 404:
            pass
        assert (await answer(gateway, *asked))[0] == 200
    while (gone := await answer(gateway, *asked))[0] == 200:
        pass
    assert (gone[0], gone[1]["retry-after"]) == (503, b"1")
    assert (await answer(gateway, "GET", "/nowhere", {}))[0] == 404

    newer = Service("shop")

    @newer.function(on.get("/news"))
    async def news() -> None: ...

    async with mesh.serving(newer):
        # The service is back, without that route: nobody has it now.
        while (await answer(gateway, "GET", "/news", {}))[0] == 404:
            pass
        assert (await answer(gateway, *asked))[0] == 404


async def test_who_is_gone_for_long_is_forgotten(manual_clock):
    asked = ("GET", "/hello/you", {})
    async with (
        MemoryBroker(manual_clock) as broker,
        AsyncExitStack() as stack,
    ):
        starting = asyncio.create_task(Mesh(broker, stack).gateway(manual_clock))
        await manual_clock.advance(ANSWER_SECONDS * 2)
        gateway = await starting
        async with serve_services([shop()], broker, SETTINGS):
            while (await answer(gateway, *asked))[0] == 404:
                pass
        while (await answer(gateway, *asked))[0] == 200:
            pass
        await manual_clock.advance(REMEMBER_SECONDS - 1)
        assert (await answer(gateway, *asked))[0] == 503
        await manual_clock.advance(FORGET_SECONDS + 1)
        assert (await answer(gateway, *asked))[0] == 404


class Line(MemoryBroker):
    """A broker that a test can have take no messages."""

    taking = True

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if not self.taking:
            raise BrokerUnavailable("an alarm")
        await super().publish(route, message, delay=delay, give_up=give_up)


async def test_who_comes_before_it_could_ask_who_is_there_is_told_to_come_again(manual_clock):
    ready, over = asyncio.Event(), asyncio.Event()

    async def serve(broker, bound):
        settings = Settings(http_fd=os.dup(bound.fileno()))
        async with serve_gateway(broker, settings, manual_clock):
            ready.set()
            await over.wait()

    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with (
            Line(manual_clock) as broker,
            asyncio.TaskGroup() as tasks,
            ClientSession(f"http://127.0.0.1:{bound.getsockname()[1]}") as http,
        ):
            broker.taking = False
            tasks.create_task(serve(broker, bound))
            await manual_clock.advance(DISCOVERY_SECONDS)
            for path in ("/hello/you", "/openapi.json"):
                status, headers, _ = await answer(http, "GET", path, {})
                assert (status, headers["retry-after"]) == (503, b"1")
            assert not ready.is_set()
            broker.taking = True
            await manual_clock.advance(ANSWER_SECONDS * 2)
            assert ready.is_set()
            assert (await answer(http, "GET", "/hello/you", {}))[0] == 404
            assert (await answer(http, "GET", "/openapi.json", {}))[0] == 200
            await http.close()
            over.set()
            await manual_clock.advance(HANDOVER)


async def test_a_stream_that_is_too_large_is_a_problem(mesh):
    service = Service("shop")

    @service.function(on.get("/count"), max_payload=20)
    async def count(to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    await mesh.start(service)
    gateway = await mesh.gateway()
    assert (await answer(gateway, "GET", "/count?to=10", {}))[0] == 200
    status, _, body = await answer(gateway, "GET", "/count?to=11", {})
    assert status == 500
    assert b"too large for a gateway: it may have 20 bytes" in body


async def test_of_two_functions_at_one_place_the_first_is_reached(mesh, caplog):
    async def start(name):
        service = Service(name)

        @service.function(on.get("/who"))
        async def who() -> str:
            return name

        return await mesh.start(service)

    await start("first")
    await start("second")
    gateway = await mesh.gateway()
    assert (await answer(gateway, "GET", "/who", {}))[2] == b'"first"'
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert "second.who announces GET /who, which first.who has" in warning.getMessage()


async def test_functions_are_invoked_by_name_and_listed(mesh):
    await mesh.start(shop())
    gateway = await mesh.gateway()
    path = "/2015-03-31/functions/shop.order/invocations"
    assert (await answer(gateway, "POST", path, {"json": {"item": "tea"}}))[2] == (
        b'{"item":"tea","count":1}'
    )
    dry = {"headers": {"X-Amz-Invocation-Type": "DryRun"}}
    assert (await answer(gateway, "POST", path, dry))[0] == 204
    async with gateway.get("/_eventmesh/functions") as answered:
        names = [function["name"] for function in (await answered.json())["functions"]]
    assert "shop.order" in names
    async with gateway.get("/_eventmesh/functions/shop.order") as answered:
        assert (await answered.json())["waiting"] == 0


async def test_the_documentation_is_that_of_all_services(mesh):
    other = Service("other")

    class Order(BaseModel):
        number: int

    @other.function(on.get("/other"))
    async def get() -> Order: ...

    await mesh.start(shop())
    await mesh.start(other)
    gateway = await mesh.gateway()
    async with gateway.get("/openapi.json") as answered:
        document = await answered.json()
    validate(document)
    assert {"/orders", "/count", "/other"} <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    properties = {name: set(schemas[name]["properties"]) for name in schemas if "Order" in name}
    assert properties == {"Order": {"number"}, "shop.Order": {"item", "count"}}
    body = document["paths"]["/orders"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"] == {"$ref": "#/components/schemas/shop.Order"}


async def test_the_trace_and_the_id_reach_the_function(mesh):
    service = Service("shop")

    @service.function(on.get("/trace"))
    async def trace(ctx: Context) -> dict:
        return {"id": ctx.id, "trace": ctx.headers["traceparent"]}

    await mesh.start(service)
    gateway = await mesh.gateway()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with gateway.get("/trace", headers={"traceparent": parent}) as answered:
        told = json.loads(await answered.read())
        assert told["trace"].startswith("00-0af7651916cd43dd8448eb211c80319c")
        assert told["id"] == answered.headers["x-eventmesh-invocation-id"]
