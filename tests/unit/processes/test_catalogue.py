import logging
from dataclasses import replace

from eventmesh.gateway.catalogue import RemoteRoute
from eventmesh.http.route import HttpRoute
from eventmesh.model.access.cors import Cors
from eventmesh.presence import AnnouncedRoute, Instance
from eventmesh.processes.catalogue import MeshCatalogue


def instance(id, started, *endpoints, version="1", openapi=None):
    return Instance(
        id,
        "host",
        1,
        started,
        {"shop": version},
        [{"name": "shop.sell", "version": version}],
        endpoints,
        openapi=openapi or {},
    )


def catalogue(*instances):
    return MeshCatalogue().build({one.id: one for one in instances})


def sell(path, timeout=30.0):
    return AnnouncedRoute("POST", path, "shop.sell", timeout)


def test_who_may_use_a_route_is_announced_and_a_route_with_nonsense_is_left_out(caplog):
    cors = Cors(["https://app.example"], credentials=True)
    told = replace(sell("/sales"), cors=cors.describe())
    forged = replace(sell("/forged"), cors={"origins": ["*"], "credentials": True})
    (route,) = catalogue(instance("a", 1.0, told, forged)).routes
    assert (route.route.path, route.cors) == ("/sales", cors)
    assert "shop.sell announces an invalid route" in caplog.text


def test_nobody():
    empty = catalogue()
    assert (empty.routes, empty.functions, empty.documents) == ([], {}, [])


def test_replicas_serve_the_same_once():
    document = {"paths": {}}
    both = catalogue(
        instance("a", 1.0, sell("/sales"), openapi=document),
        instance("b", 2.0, sell("/sales"), openapi=dict(document)),
    )
    assert both.routes == [RemoteRoute(HttpRoute("POST", "/sales"), "shop.sell", 30.0)]
    assert both.documents == [document]


def test_of_two_versions_all_routes_are_served_and_the_newest_comes_first():
    both = catalogue(
        instance("old", 1.0, sell("/sales", 5.0), sell("/old"), version="1"),
        instance("new", 2.0, sell("/sales", 9.0), sell("/new"), version="2"),
    )
    assert [(one.route.path, one.timeout) for one in both.routes] == [
        ("/sales", 9.0),
        ("/new", 30.0),
        ("/old", 30.0),
    ]
    assert both.functions["shop.sell"]["version"] == "2"


def test_a_route_that_cannot_be_is_left_out(caplog):
    routes = catalogue(instance("a", 1.0, sell("nowhere"), sell("/sales"))).routes
    assert [one.route.path for one in routes] == ["/sales"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "shop.sell announces an invalid route" in record.getMessage()


def pay(path, function="payments.pay"):
    return AnnouncedRoute("POST", path, function, 30.0)


def owners(built):
    return {(one.route.path, one.function) for one in built.routes}


def test_who_had_a_route_first_keeps_it_until_it_is_gone(caplog):
    merged = MeshCatalogue()
    merged.settle()
    first, thief = instance("a", 5.0, sell("/pay/{id}")), instance("b", 9e15, pay("/pay/{what}"))
    replica = instance("c", 6.0, sell("/pay/{id}"))
    assert owners(merged.build({"a": first})) == {("/pay/{id}", "shop.sell")}
    assert owners(merged.build({"a": first, "b": thief})) == {("/pay/{id}", "shop.sell")}
    # Its first process goes, and a replica of it that came after the other one is left.
    assert owners(merged.build({"b": thief, "c": replica})) == {("/pay/{id}", "shop.sell")}
    assert owners(merged.build({"b": thief})) == {("/pay/{what}", "payments.pay")}
    (record,) = caplog.records
    assert "payments.pay announces POST /pay/{what}, which shop.sell has" in record.getMessage()


def test_until_all_have_answered_the_first_to_start_has_a_route():
    merged = MeshCatalogue()
    first, second = instance("a", 5.0, sell("/pay")), instance("b", 6.0, pay("/pay"))
    assert owners(merged.build({"b": second})) == {("/pay", "payments.pay")}
    assert owners(merged.build({"b": second, "a": first})) == {("/pay", "shop.sell")}


def test_a_reserved_path_is_left_out(caplog):
    paths = ("/_eventmesh/functions", "/_eventmesh", "/2015-03-31/functions/x/invocations")
    assert catalogue(instance("a", 1.0, *map(sell, paths), sell("/_eventmeshes"))).routes == [
        RemoteRoute(HttpRoute("POST", "/_eventmeshes"), "shop.sell", 30.0)
    ]
    assert caplog.text.count("belong to the APIs") == 3
