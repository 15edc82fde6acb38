import pytest

from eventmesh.gateway import absent
from eventmesh.gateway.absent import REMEMBER_SECONDS, AbsentRoutes
from eventmesh.gateway.catalogue import RemoteRoute
from eventmesh.http.route import HttpRoute
from eventmesh.model.access.cors import Cors
from eventmesh.testing.clock import ManualClock


def route(path, function="shop.sell", cors=None):
    return RemoteRoute(HttpRoute("GET", path), function, 30.0, cors)


@pytest.fixture
def manual_clock():
    return ManualClock()


@pytest.fixture
def routes(manual_clock):
    return AbsentRoutes(manual_clock)


def paths(routes):
    return [each.route.path for each in routes.routes]


def test_routes_are_remembered_while_nobody_of_their_service_runs(routes):
    routes.update([route("/a"), route("/b", "stock.take")], [route("/b", "stock.take")], {"stock"})
    assert paths(routes) == ["/a"]
    # Others come and go meanwhile.
    routes.update([route("/b", "stock.take")], [], set())
    assert paths(routes) == ["/a", "/b"]


def test_a_service_that_is_back_says_itself_what_it_serves(routes):
    routes.update([route("/a"), route("/b")], [], set())
    routes.update([], [route("/a")], {"shop"})
    assert paths(routes) == []


def test_what_another_service_serves_now_is_not_absent(routes):
    routes.update([route("/a")], [], set())
    routes.update([], [route("/a", "store.sell")], {"store"})
    assert paths(routes) == []


async def test_each_is_forgotten_after_its_time(routes, manual_clock):
    routes.update([route("/a")], [], set())
    await manual_clock.advance(1)
    routes.update([route("/b")], [], set())
    assert not routes.forget()
    await manual_clock.advance(REMEMBER_SECONDS - 1)
    assert routes.forget()
    assert paths(routes) == ["/b"]


def test_services_that_come_and_go_with_other_routes_take_no_more_memory(routes, monkeypatch):
    monkeypatch.setattr(absent, "MAX_ROUTES", 3)
    for number in range(10):
        routes.update([route(f"/{number}", f"s{number}.f")], [], set())
    assert paths(routes) == ["/7", "/8", "/9"]


def test_nor_do_long_ones(routes, monkeypatch):
    monkeypatch.setattr(absent, "MAX_CHARACTERS", 400)
    cors = Cors([f"https://{'a' * 60}.example"])
    routes.update([route("/short"), route("/b", cors=cors), route("/" + "c" * 300)], [], set())
    assert paths(routes) == ["/" + "c" * 300]
    # What is dropped is counted no more.
    routes.update([], [], {"shop"})
    routes.update([route("/short", "other.f"), route("/b", "other.f", cors)], [], set())
    assert paths(routes) == ["/short", "/b"]
