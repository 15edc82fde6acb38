"""Which part of a request fills which parameter, and which routes a signature does not fit."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from eventmesh.engine.binding import Body, Header, Path, Query, Shape, compile_signature
from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import Event
from eventmesh.model.invocation import RouteTemplate


class Order(BaseModel):
    id: str


def handle(
    *,
    id: int,
    order: Order,
    ctx: Context,
    page: Annotated[Order, Query()],
    tags: Annotated[list[str], Query("tag", "words to filter by")],
    x_token: Annotated[str, Header()] = "",
    dry_run: bool = False,
): ...


def test_the_plan_says_where_each_parameter_comes_from():
    plan = compile_signature(handle).http_binding(
        RouteTemplate("POST /{id}", ("id",), has_body=True)
    )

    assert [(field.parameter.name, field.source, field.name) for field in plan.fields] == [
        ("id", "path", "id"),
        ("page", "query", "page"),
        ("tags", "query", "tag"),
        ("x_token", "header", "x-token"),
        ("dry_run", "query", "dry_run"),
    ]
    assert [field.parameter.shape for field in plan.fields] == [
        Shape.PLAIN,
        Shape.OBJECT,
        Shape.LIST,
        Shape.PLAIN,
        Shape.PLAIN,
    ]
    assert plan.fields[2].parameter.description == "words to filter by"
    assert plan.fields[0].parameter.adapter.json_schema() == {"type": "integer"}


def of_model(order: Order): ...


def of_optional(order: Order | None = None): ...


def of_bytes(body: bytes): ...


def of_models(order: Order, other: Order): ...


def of_fields(name: str, count: int = 3): ...


def of_one_field(name: str): ...


def of_marked(note: Annotated[str, Body()]): ...


def of_event(event: Event[Order]): ...


@pytest.mark.parametrize(
    ("handler", "names", "is_what", "schema_type"),
    [
        (of_model, ["order"], (True, True, False), "object"),
        (of_optional, ["order"], (True, False, False), None),
        (of_bytes, ["body"], (True, True, True), "string"),
        (of_models, ["order", "other"], (False, True, False), "object"),
        (of_fields, ["name", "count"], (False, True, False), "object"),
        (of_one_field, ["name"], (False, True, False), "object"),
        (of_marked, ["note"], (True, True, False), "string"),
        (of_event, ["event"], (True, True, False), "object"),
    ],
)
def test_the_body_is_one_value_or_an_object(handler, names, is_what, schema_type):
    body = compile_signature(handler).http_binding(RouteTemplate("POST /", (), has_body=True)).body

    assert body is not None
    assert list(body.fields) == names
    assert (body.whole, body.required, body.raw) == is_what
    assert body.adapter.json_schema().get("type") == schema_type


def test_a_body_that_nothing_reads_is_not_in_the_plan():
    plan = compile_signature(lambda: None).http_binding(RouteTemplate("POST /", (), has_body=True))

    assert (plan.fields, plan.body) == ((), None)


def of_marked_path(id: Annotated[int, Path("order_id")]): ...


def of_path_list(id: list[int]): ...


def of_path_model(id: Order): ...


def of_header_list(tags: Annotated[list[str], Header()]): ...


def of_header_model(order: Annotated[Order, Header()]): ...


def of_query_models(orders: list[Order]): ...


def of_query_union(thing: Order | int): ...


def of_everything(payload: Any): ...


def of_one_name(note: Annotated[str, Body("a")], a: Annotated[str, Body()]): ...


NO_BODY = "this route has no body: use on.post"


@pytest.mark.parametrize(
    ("handler", "path_names", "has_body", "advice"),
    [
        (
            of_model,
            ["id"],
            True,
            r"of_model\(\) has no parameter for \{id\} in the path: .* Path\(",
        ),
        (of_fields, ["a", "name", "b"], False, r"has no parameter for \{a\} and \{b\} in the path"),
        (of_event, ["id"], True, r"of_event\(\) has no parameter for \{id\}"),
        (of_marked_path, ["id"], False, r"of_marked_path\(id: .*\): the path .* no \{order_id\}"),
        (of_path_list, ["id"], False, r"of_path_list\(id: list\[int\]\): a path is one string"),
        (of_path_model, ["id"], True, r"of_path_model\(id: .*Order\): a path is one string"),
        (of_header_list, [], False, r"of_header_list\(tags: .*\): a header is one string"),
        (of_header_model, [], True, r"of_header_model\(order: .*\): a header is one string"),
        (of_query_models, [], False, r"of_query_models\(.*\): a query cannot contain this"),
        (of_query_union, [], False, r"of_query_union\(.*\): a query cannot contain this"),
        (of_bytes, [], False, r"of_bytes\(body: bytes\): a query cannot contain this: .* on.post"),
        (of_one_name, [], True, r"of_one_name\(\) has two parameters of one name in the body"),
        (of_marked, [], False, rf"of_marked\(note: .*\): {NO_BODY}"),
    ],
)
def test_a_route_that_a_signature_does_not_fit_is_refused(handler, path_names, has_body, advice):
    signature = compile_signature(handler)

    with pytest.raises(DeclarationError, match=advice):
        signature.build_http_binder(RouteTemplate("…", tuple(path_names), has_body))


@pytest.mark.parametrize("handler", [of_everything, of_event])
def test_routes_without_a_body_fit_what_takes_anything(handler):
    plan = compile_signature(handler).http_binding(RouteTemplate("GET /", (), has_body=False))

    assert len(plan.fields) + (plan.body is not None) == 1
