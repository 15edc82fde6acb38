"""Pages of other origins: what they may do where a service says so, and what nowhere."""

import pytest

from eventmesh import Cors, Problem, Response, Service, on

PAGE = "https://app.example"
EVIL = "https://evil.example"
ALLOW = "Access-Control-Allow-Origin"


class Shop:
    """A service that counts what was run."""

    def __init__(self, cors=None):
        self.runs = 0
        self.service = service = Service("shop", cors=cors)

        @service.function(on.get("/items"), on.put("/items"))
        async def items() -> Response:
            self.runs += 1
            return Response([], headers={"X-Total": "0", "Vary": "Accept"})

        @service.function(on.post("/forms"))
        async def forms(body: bytes) -> int:
            self.runs += 1
            return len(body)

        @service.function(on.get("/items/{id}"))
        async def item(id: int) -> None:
            raise Problem(404, "sold out")

        @service.function(on.delete("/items/special"))
        async def special() -> None:
            self.runs += 1


def preflight(method="PUT", origin=PAGE, headers="content-type"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return asked | ({"Access-Control-Request-Headers": headers} if headers else {})


def of_cors(answer):
    """The headers of an answer by which a browser decides."""
    prefix = "Access-Control-Allow-"
    names = (name for name in answer.headers if name.startswith(prefix))
    return {name.removeprefix(prefix): answer.headers[name] for name in names}


async def test_a_preflight_is_answered_and_nothing_is_run(serving):
    shop = Shop(Cors([PAGE], headers=["content-type", "x-team"], max_age="1h"))
    async with serving(shop.service) as served:
        asked = preflight(headers="Content-Type, X-Team")
        async with served.http.options("/items", headers=asked) as answer:
            assert answer.status == 204
            assert of_cors(answer) == {
                "Origin": PAGE,
                "Methods": "PUT",
                "Headers": "content-type, x-team",
            }
            assert answer.headers["Access-Control-Max-Age"] == "3600"
            assert "Origin" in answer.headers["Vary"]
    assert not shop.runs


@pytest.mark.parametrize(
    ("asked", "path", "status"),
    [
        (preflight(origin=EVIL), "/items", 403),
        (preflight(origin="null"), "/items", 403),
        (preflight(origin="https://app.example.evil.example"), "/items", 403),
        (preflight(origin="https://xapp.example"), "/items", 403),
        (preflight(origin="http://app.example"), "/items", 403),
        (preflight(origin="https://app.example:8443"), "/items", 403),
        (preflight(headers="x-forbidden"), "/items", 403),
        (preflight(headers="content-type,x y"), "/items", 403),
        (preflight("PATCH"), "/items", 204),
        (preflight("BREW"), "/items", 204),
        (preflight(), "/nowhere", 404),
        ({"Origin": PAGE}, "/items", 204),
        (preflight("POST"), "/_eventmesh/send/shop.items", 204),
        (preflight("POST"), "/2015-03-31/functions/shop.items/invocations", 204),
    ],
)
async def test_a_preflight_for_what_is_not_allowed_allows_nothing(serving, asked, path, status):
    shop = Shop(Cors([PAGE]))
    async with (
        serving(shop.service) as served,
        served.http.options(path, headers=asked) as answer,
    ):
        assert answer.status == status
        assert of_cors(answer) == {}
    assert not shop.runs


async def test_a_preflight_is_about_the_route_that_will_be_found(serving):
    class Other(Service):
        pass

    shop, plain = Shop(Cors([PAGE])), Other("plain")

    @plain.function(on.patch("/items/{id}"))
    async def change(id: int) -> None: ...

    async with serving(shop.service, plain) as served:
        for method, path, allowed in (
            ("GET", "/items/special", True),
            ("DELETE", "/items/special", True),
            ("DELETE", "/items/7", False),
            ("PATCH", "/items/special", False),
        ):
            async with served.http.options(path, headers=preflight(method)) as answer:
                assert bool(of_cors(answer)) is allowed


@pytest.mark.parametrize("path", ["/items", "/items/1", "/items/x"])
async def test_answers_and_errors_are_shown_to_the_page(serving, path):
    shop = Shop(Cors([PAGE, "https://*.shop.example"], credentials=True, expose=["x-total"]))
    async with serving(shop.service) as served:
        for origin in (PAGE, "https://eu.shop.example", "https://a.b.shop.example"):
            async with served.http.get(path, headers={"Origin": origin}) as answer:
                assert of_cors(answer) == {"Origin": origin, "Credentials": "true"}
                assert answer.headers["Access-Control-Expose-Headers"] == "x-total"
                assert "Origin" in answer.headers.getall("Vary")
        for headers in ({}, {"Origin": EVIL}, {"Origin": "https://shop.example"}):
            async with served.http.get(path, headers=headers) as answer:
                assert of_cors(answer) == {}
                assert "Origin" in answer.headers.getall("Vary")


async def test_what_all_pages_may_use_is_the_same_for_all(serving):
    async with serving(Shop(Cors(["*"], headers=["*"])).service) as served:
        async with served.http.get("/items", headers={"Origin": EVIL}) as answer:
            assert of_cors(answer) == {"Origin": "*"}
            assert answer.headers.getall("Vary") == ["Accept"]
        asked = preflight(origin=EVIL, headers="x-any")
        async with served.http.options("/items", headers=asked) as answer:
            assert of_cors(answer) == {"Origin": "*", "Methods": "PUT", "Headers": "x-any"}


async def test_only_the_methods_that_are_listed(serving):
    async with serving(Shop(Cors([PAGE], methods=["GET"])).service) as served:
        for method, allowed in (("GET", True), ("PUT", False)):
            async with served.http.options("/items", headers=preflight(method)) as answer:
                assert bool(of_cors(answer)) is allowed


CROSS = {"Sec-Fetch-Site": "cross-site"}


@pytest.mark.parametrize(
    ("cors", "headers", "status"),
    [
        (None, CROSS | {"Origin": EVIL}, 403),
        (None, CROSS | {"Origin": "null"}, 403),
        (None, CROSS, 403),
        (None, {"Sec-Fetch-Site": "same-origin"}, 200),
        (None, {"Sec-Fetch-Site": "none"}, 200),
        (None, {"Origin": EVIL}, 200),  # no browser: it would say more
        (Cors([PAGE]), CROSS | {"Origin": PAGE}, 200),
        (Cors([PAGE]), CROSS | {"Origin": EVIL}, 403),
        (Cors([PAGE]), CROSS, 403),
        (Cors(["*"]), CROSS | {"Origin": EVIL}, 200),
        (Cors([PAGE], methods=["GET"]), CROSS | {"Origin": PAGE}, 403),
    ],
)
async def test_a_form_of_another_site_is_not_taken(serving, cors, headers, status):
    shop = Shop(cors)
    async with serving(shop.service) as served:
        async with served.http.post("/forms", data={"to": "mallory"}, headers=headers) as answer:
            assert answer.status == status
        assert shop.runs == (status == 200)
        async with served.http.get("/items", headers=headers) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("path", ["/_eventmesh/events/a.b", "/_eventmesh/send/shop.items"])
async def test_the_apis_take_nothing_of_other_sites(serving, path):
    shop = Shop(Cors(["*"]))
    async with serving(shop.service) as served:
        for headers in (CROSS, CROSS | {"Origin": served.url}):
            async with served.http.post(path, json={}, headers=headers) as answer:
                assert answer.status == 403
    assert not shop.runs


async def test_no_cache_keeps_what_the_apis_answer(serving):
    async with serving(Shop().service) as served:
        for path in ("/_eventmesh/functions", "/_eventmesh/functions/no.such"):
            async with served.http.get(path) as answer:
                assert answer.headers["Cache-Control"] == "no-store"
        invoke = "/2015-03-31/functions/{}/invocations"
        for name in ("shop.items", "no.such"):
            async with served.http.post(invoke.format(name)) as answer:
                assert answer.headers["Cache-Control"] == "no-store"
        async with served.http.get("/items") as answer:
            assert "Cache-Control" not in answer.headers
