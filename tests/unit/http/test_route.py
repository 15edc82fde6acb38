import inspect

import pytest

from eventmesh.model.errors import DeclarationError
from eventmesh.triggers import on
from eventmesh.triggers.http import HttpTrigger


def test_the_names_in_a_path_are_those_in_braces():
    assert on.get("/shops/{shop}/orders/{order_id}").names == ("shop", "order_id")


def test_a_route_says_what_it_is():
    assert on.put("/orders/{id}", mode="async").describe() == "PUT /orders/{id} (async)"
    assert on.delete("/").describe() == "DELETE /"


@pytest.mark.parametrize(
    ("declare", "has_body"),
    [
        (on.get, False),
        (on.delete, False),
        (on.post, True),
        (on.put, True),
        (on.patch, True),
        (on.any, True),
    ],
)
def test_a_body_is_read_where_it_has_a_meaning(declare, has_body):
    trigger = declare("/orders")

    assert trigger.method == declare.__name__.upper()
    assert trigger.has_body is has_body


def test_the_rest_of_a_path_has_a_name():
    trigger = on.any("/files/{file:path}")

    assert trigger.names == ("file",)
    assert trigger.documented_path == "/files/{file}"
    assert trigger.methods == ("GET", "POST", "PUT", "PATCH", "DELETE")


def test_a_route_of_all_methods_is_not_idempotent():
    with pytest.raises(DeclarationError, match="is for one method"):
        on.any("/orders", idempotent=True)


def test_options_are_passed_on():
    trigger = on.post("/", status=201, summary="Order", tags=["shop"], problems=[409])

    assert trigger == HttpTrigger("POST", "/", "sync", 201, "Order", ("shop",), (409,))


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("orders", "begins with '/'"),
        ("/{file:path}/size", "write nothing after it"),
        ("/{file:int}", "cannot be a part of a path"),
        ("", "begins with '/'"),
        ("/orders?all", "no '%', '?'"),
        ("/caf%C3%A9", "as people read it"),
        ("/a b", "spaces"),
        ("/orders/{}", "one name in braces"),
        ("/orders/{order-id}", "one name in braces"),
        ("/orders/{id}.json", "one name in braces"),
        ("/{id}/{id}", "a name is used twice"),
    ],
)
def test_a_path_that_cannot_be_is_refused_with_advice(path, advice):
    with pytest.raises(DeclarationError, match=advice) as refused:
        on.get(path)

    assert f"on.get({path!r})" in str(refused.value)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"mode": "later"}, "choose 'sync' or 'async'"),
        ({"status": 404}, "choose 200 to 299"),
        ({"mode": "async", "status": 201}, "leave the status out"),
        ({"problems": [200]}, "from 400 to 599"),
        ({"tag": "shop"}, r"on.post\('/orders'\) has no option 'tag': there are mode, status, "),
    ],
)
def test_options_that_make_no_sense_are_refused_with_advice(options, advice):
    with pytest.raises(DeclarationError, match=advice):
        on.post("/orders", **options)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("head", "where on.get answers"),
        ("options", "the server answers OPTIONS itself"),
        ("GET", "there are on.get, on.post"),
        ("websocket", "on.queue, on.event, on.every, on.cron, on.at"),
    ],
)
def test_a_trigger_that_is_not_there_is_refused_with_advice(name, advice):
    with pytest.raises(AttributeError, match=f"no trigger on.{name}: .*{advice}"):
        getattr(on, name)


def test_the_advice_names_every_trigger():
    with pytest.raises(AttributeError) as refused:
        on.nothing  # noqa: B018

    declared = {name for name, found in vars(on).items() if inspect.isfunction(found)}
    own = {name for name in declared if vars(on)[name].__module__ == on.__name__}
    assert {f"on.{name}" for name in own - {"__getattr__"}} == set(
        str(refused.value).partition("there are ")[2].split(", ")
    )
