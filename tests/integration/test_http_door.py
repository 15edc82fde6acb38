"""Requests for other hosts, and from clients behind proxies or that pretend to be."""

import logging
import ssl

import pytest

from eventmesh import Context, Service, on

EVIL = "rebind.evil.example"


@pytest.fixture
def where():
    service = Service("where")

    @service.function(on.get("/"))
    async def show(ctx: Context) -> str:
        return ctx.invocation.http.remote

    return service


async def ask(served, head):
    """The status of a request whose head is given as bytes."""
    reader, writer = await served.connect()
    writer.write(head + b"Connection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return int(answer.split()[1])


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/nowhere", "/_eventmesh/functions", "/%5Feventmesh/functions"],
)
async def test_no_path_answers_a_name_that_was_made_to_point_here(serving, where, path):
    async with serving(where) as served:
        own, evil = f"localhost:{served.port}", f"{EVIL}:{served.port}"
        for host, refused in ((own, False), (evil, True)):
            async with served.http.get(path, headers={"Host": host}) as answer:
                assert (answer.status == 421) is refused


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"GET / HTTP/1.0\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nhost: localhost\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost, evil.example\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost@evil.example\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n", 400),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 421),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n", 421),
        (b"GET HTTP://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 421),
        (b"GET http://localhost@evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 400),
        (b"GET /http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n", 421),
    ],
)
async def test_the_host_is_what_all_parts_of_the_head_say(serving, where, head, status):
    async with serving(where) as served:
        assert await ask(served, head) == status


async def test_the_hosts_that_are_listed_are_answered(serving, where):
    async with serving(where, allowed_hosts=("shop.example", "*.shop.example")) as served:
        for host, status in (("shop.example", 200), ("eu.shop.example", 200), ("localhost", 421)):
            async with served.http.get("/", headers={"Host": host}) as answer:
                assert answer.status == status


FORGED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Host": "shop.example"}


async def test_a_client_cannot_say_who_it_is(serving, where, caplog):
    caplog.set_level(logging.INFO, "eventmesh.access")
    async with serving(where) as served:
        for headers in (FORGED, {"Forwarded": "for=192.0.2.1"}):
            async with served.http.get("/", headers=headers) as answer:
                assert await answer.json() == "127.0.0.1"
    assert [record.remote for record in caplog.records] == ["127.0.0.1"] * 2


async def test_a_proxy_says_who_its_client_is(serving, where, caplog):
    caplog.set_level(logging.INFO, "eventmesh.access")
    settings = {"trusted_proxies": ("127.0.0.1/32",), "allowed_hosts": ("shop.example",)}
    async with serving(where, **settings) as served:
        async with served.http.get("/", headers=FORGED) as answer:
            assert await answer.json() == "192.0.2.1"
        async with served.http.get("/", headers={"Host": "shop.example"}) as answer:
            assert await answer.json() == "127.0.0.1"
        evil = FORGED | {"Host": "shop.example", "X-Forwarded-Host": "evil.example"}
        async with served.http.get("/", headers=evil) as answer:
            assert answer.status == 421
    assert [record.remote for record in caplog.records] == ["192.0.2.1", "127.0.0.1", "192.0.2.1"]


async def test_nonsense_from_a_proxy_is_refused_and_logged(serving, where, caplog):
    caplog.set_level(logging.INFO, "eventmesh.access")
    answer = await _answer_to_nonsense(serving, where, trusted_proxies=("127.0.0.1/32",))
    assert answer.startswith(b"HTTP/1.1 400 ")
    (record,) = caplog.records
    assert (record.status, record.remote) == (400, "127.0.0.1")


async def test_no_answer_is_one_for_a_browser_to_guess(serving, where):
    async with serving(where) as served:
        for path in ("/", "/docs", "/docs/swagger-ui.js", "/openapi.json", "/nowhere"):
            async with served.http.get(path) as answer:
                assert answer.headers.getall("X-Content-Type-Options") == ["nosniff"]
        async with served.http.options("/") as answer:
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"X-Content-Type-Options: nosniff" in await _answer_to_nonsense(serving, where)


async def _answer_to_nonsense(serving, service, **settings):
    async with serving(service, **settings) as served:
        reader, writer = await served.connect()
        writer.write(b"nonsense\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    return answer


async def test_over_tls_browsers_are_told_to_come_by_tls(serving, where, authority, certificate):
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    name = "Strict-Transport-Security"
    async with serving(where, http_host="0.0.0.0", **certificate) as served:
        for path in ("/", "/nowhere"):
            async with served.http.get(path, ssl=tls) as answer:
                assert answer.headers[name] == "max-age=2592000"
    async with serving(where, **certificate) as served, served.http.get("/", ssl=tls) as answer:
        assert name not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "192.0.2.1"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "unknown"},
        {"Forwarded": "for=_hidden"},
        {"X-Forwarded-For": "192.0.2.1", "Forwarded": "for=127.0.0.1"},
        {"X-Forwarded-Proto": "https"},
    ],
)
async def test_a_trusted_proxy_makes_nobody_one_of_this_machine(serving, where, headers):
    async with serving(where, trusted_proxies=("127.0.0.0/8",)) as served:
        for method, path in (("GET", "functions"), ("POST", "send/where.show")):
            async with served.http.request(
                method, f"/_eventmesh/{path}", headers=headers
            ) as answer:
                assert answer.status == 403


async def test_the_listener_of_the_apis_keeps_its_local_names(serving, where):
    hosts = {"http_host": "0.0.0.0", "allowed_hosts": ("shop.example",), "api_port": 0}
    async with serving(where, **hosts) as served:
        url = served.host.addresses["api"] + "/_eventmesh/functions"
        for host, status in (("localhost", 200), ("shop.example", 421), (EVIL, 421)):
            async with served.http.get(url, headers={"Host": host}) as answer:
                assert answer.status == status
        async with served.http.get("/", headers={"Host": "localhost"}) as answer:
            assert answer.status == 421
