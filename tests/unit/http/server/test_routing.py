from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventmesh.http.server.routing import Router
from eventmesh.model.errors import DeclarationError


def router_of(*routes):
    router = Router()
    for route in routes:
        method, path = route.split(" ")
        router.add(method, path, route, f"the owner of {route}")
    return router


@pytest.mark.parametrize(
    ("path", "found", "values"),
    [
        ("/", "GET /", {}),
        ("/orders", "GET /orders", {}),
        ("/orders/new", "GET /orders/new", {}),
        ("/orders/17", "GET /orders/{id}", {"id": "17"}),
        ("/orders/17/lines", "GET /orders/{id}/lines", {"id": "17"}),
        ("/orders/new/lines", "GET /orders/{id}/lines", {"id": "new"}),
        ("/%6Frders", "GET /orders", {}),
        ("/orders/a%2Fb", "GET /orders/{id}", {"id": "a/b"}),
        ("/orders/%C3%BC%20%25", "GET /orders/{id}", {"id": "ü %"}),
        ("/caf%C3%A9", "GET /café", {}),
        ("/slash/", "GET /slash/", {}),
    ],
)
def test_a_path_is_found_with_its_values(path, found, values):
    router = router_of(
        "GET /",
        "GET /orders",
        "GET /orders/{id}",
        "GET /orders/new",
        "GET /orders/{id}/lines",
        "GET /café",
        "GET /slash/",
    )

    assert router.find("GET", path) == (found, values)


@pytest.mark.parametrize(
    "path", ["/orders/", "/orders/17/", "//orders", "/ORDERS", "/orders/17/x", "", "/slash", "*"]
)
def test_no_other_path_is_found(path):
    router = router_of("GET /orders", "GET /orders/{id}", "GET /slash/")

    assert router.find("GET", path) is None
    assert router.allowed(path) == set()


def test_what_answers_get_answers_head():
    assert router_of("GET /orders").find("HEAD", "/orders") == ("GET /orders", {})


def test_a_method_is_looked_for_at_each_route_that_fits():
    router = router_of("GET /orders/new", "DELETE /orders/{id}", "PUT /{kind}/new")

    assert router.find("DELETE", "/orders/new") == ("DELETE /orders/{id}", {"id": "new"})
    assert router.find("PUT", "/orders/new") == ("PUT /{kind}/new", {"kind": "orders"})
    assert router.find("POST", "/orders/new") is None
    assert router.allowed("/orders/new") == {"GET", "HEAD", "DELETE", "PUT"}


def test_names_are_those_of_the_route_that_answers():
    router = router_of("GET /orders/{id}", "PUT /orders/{order_id}")

    assert router.find("PUT", "/orders/1") == ("PUT /orders/{order_id}", {"order_id": "1"})


@pytest.mark.parametrize(
    ("first", "second"),
    [("GET /orders", "GET /orders"), ("GET /orders/{id}", "GET /orders/{name}")],
)
def test_two_owners_of_one_route_are_refused_by_name(first, second):
    router = router_of(first)

    with pytest.raises(DeclarationError, match=r"both the owner of .* and somebody"):
        router.add(*second.split(" "), "endpoint", "somebody")


def test_a_missing_route_is_added_and_one_that_is_there_stays():
    router = router_of("GET /docs")
    router.add_missing("GET", "/docs", "ours", "us")
    router.add_missing("GET", "/more", "ours", "us")

    assert router.find("GET", "/docs") == ("GET /docs", {})
    assert router.find("GET", "/more") == ("ours", {})


def test_a_path_that_is_no_utf8_is_an_error_and_no_other_path():
    with pytest.raises(UnicodeDecodeError):
        router_of("GET /{name}").find("GET", "/%FF")


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_whatever_a_segment_has_comes_through(texts):
    router = Router()
    names = [f"name{number}" for number in range(len(texts))]
    router.add("GET", "/" + "/".join(f"{{{name}}}" for name in names), "endpoint", "us")

    path = "/" + "/".join(quote(text, safe="") for text in texts)

    assert router.find("GET", path) == ("endpoint", dict(zip(names, texts, strict=True)))


@pytest.mark.parametrize(
    ("path", "found", "values"),
    [
        ("/", "GET /{rest:path}", {"rest": ""}),
        ("/files", "GET /files", {}),
        ("/files/", "GET /files/{file:path}", {"file": ""}),
        ("/files/a/b%2Fc", "GET /files/{file:path}", {"file": "a/b/c"}),
        ("/files/a//b", "GET /files/{file:path}", {"file": "a//b"}),
        ("/files/7", "GET /files/{id}", {"id": "7"}),
        ("/filesystem/x", "GET /{rest:path}", {"rest": "filesystem/x"}),
    ],
)
def test_the_rest_of_a_path_is_found_last(path, found, values):
    router = router_of(
        "GET /{rest:path}", "GET /files", "GET /files/{id}", "GET /files/{file:path}"
    )

    assert router.find("GET", path) == (found, values)


@pytest.mark.parametrize(
    "path",
    [
        "/_eventmesh/queues",
        "/%5Feventmesh/queues",
        "/2015-03-31/functions/f/invocations",
        "/2015-03-31%2Ffunctions/f/invocations",
    ],
)
def test_the_rest_of_a_path_is_none_of_the_apis(path):
    router = router_of("POST /{rest:path}")

    assert router.find("POST", path) is None
    assert router.allowed(path) == set()


@pytest.mark.parametrize("general_first", [True, False])
def test_a_route_of_one_method_goes_before_one_of_all(general_first):
    router = Router()
    routes = [("GET", "all", True), ("POST", "all", True), ("GET", "one", False)]
    for method, owner, general in routes if general_first else reversed(routes):
        router.add(method, "/orders", owner, owner, general=general)

    for method, owner in (("GET", "one"), ("HEAD", "one"), ("POST", "all")):
        assert router.find(method, "/orders") == (owner, {})


def test_two_routes_of_all_methods_are_refused_by_name():
    router = Router()
    router.add("GET", "/orders", "a", "shop.a", general=True)
    with pytest.raises(DeclarationError, match=r"both shop\.a and shop\.b answer GET /orders"):
        router.add("GET", "/orders", "b", "shop.b", general=True)
