"""How an HTTP request becomes the arguments of a handler."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, Strict

from eventmesh.engine.binding import Body, Header, Path, Query, compile_signature
from eventmesh.engine.context import Context
from eventmesh.model.errors import PayloadInvalid
from eventmesh.model.event import Event
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate


class Item(BaseModel):
    sku: str
    qty: int


class Order(BaseModel):
    id: str
    items: list[Item] = []


class Page(BaseModel):
    limit: Literal[10, 25] = 10
    tags: list[str] = []
    sort_by: str = Field("id", alias="sort")


class StrictPage(Page):
    model_config = ConfigDict(extra="forbid", strict=True)


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


def bind(
    handler: Callable[..., Any],
    *,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> dict[str, Any]:
    """The arguments of a request; to a route with a body if there is one."""
    path = path or {}
    route = RouteTemplate("POST /", tuple(path), body is not None)
    binder = compile_signature(handler).build_http_binder(route)
    request = HttpRequest(
        RouteTemplate("POST /", (), True), "POST", "/", path, query or {}, headers or {}
    )
    return binder(Invocation("shop.f", "id-1", body or b"", 0.0, http=request))


def reasons(handler: Callable[..., Any], **request: Any) -> list[tuple[Any, str]]:
    with pytest.raises(PayloadInvalid, match=r"^the request does not fit: ") as caught:
        bind(handler, **request)
    assert all(error.keys() == {"loc", "msg", "type"} for error in caught.value.errors)
    return [(error["loc"], error["type"]) for error in caught.value.errors]


def get(id: int, limit: int = 10, tags: list[str] | None = None, ctx: Context | None = None): ...


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ({}, {"limit": 10, "tags": None}),
        ({"limit": ["5"], "tags": ["a", "b"]}, {"limit": 5, "tags": ["a", "b"]}),
        ({"limit": ["1", "2"], "tags": ["a"], "more": ["x"]}, {"limit": 2, "tags": ["a"]}),
    ],
)
def test_without_a_body_what_is_not_in_the_path_is_in_the_query(query, arguments):
    assert bind(get, path={"id": "3"}, query=query) == {"id": 3, **arguments}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "3", "3"),
        (int, "3", 3),
        (float, "1.5", 1.5),
        (bool, "true", True),
        (date, "2024-05-01", date(2024, 5, 1)),
        (uuid.UUID, "00000000-0000-0000-0000-000000000001", uuid.UUID(int=1)),
        (Colour, "red", Colour.RED),
        (Level, "1", Level.LOW),
        (Literal["a", "b"], "b", "b"),
        (Literal[10, 25], "25", 25),
        (Literal[10, 25] | None, "10", 10),
        (Literal[True], "true", True),
        (int | None, "3", 3),
        (Annotated[int, Strict()], "3", 3),
        (Annotated[int, Field(ge=1)], "4", 4),
        (AnyUrl, "https://example.org/", AnyUrl("https://example.org/")),
        (Any, "3", "3"),
        (Annotated[bytes, Query()], "abc", b"abc"),
        (list[int], "3", [3]),
        (list[Literal[1, 2]], "2", [2]),
        (set[int], "3", {3}),
        (tuple[int, ...], "3", (3,)),
        (list, "3", ["3"]),
    ],
)
def test_values_are_made_of_text(annotation, text, value):
    def handle(given): ...

    handle.__annotations__ = {"given": annotation}

    assert bind(handle, query={"given": [text]}) == {"given": value}


def with_query_model(page: Page): ...


def with_strict_model(page: StrictPage, token: str = ""): ...


def with_optional_model(page: Page | None = None): ...


def with_dict(filters: dict[str, str]): ...


def with_model_and_body(order: Order, page: Annotated[Page, Query()]): ...


@pytest.mark.parametrize(
    ("handler", "query", "arguments"),
    [
        (with_query_model, {}, {"page": Page()}),
        (
            with_query_model,
            {"limit": ["25"], "tags": ["a", "b"], "sort": ["x"], "more": ["y"]},
            {"page": Page(limit=25, tags=["a", "b"], sort="x")},
        ),
        (
            with_strict_model,
            {"limit": ["25"], "token": ["t"]},
            {"page": StrictPage(limit=25), "token": "t"},
        ),
        (with_optional_model, {}, {"page": None}),
        (with_optional_model, {"limit": ["25"]}, {"page": Page(limit=25)}),
        (with_dict, {"a": ["1"], "b": ["2", "3"]}, {"filters": {"a": "1", "b": "3"}}),
    ],
)
def test_without_a_body_the_fields_of_a_model_are_in_the_query(handler, query, arguments):
    assert bind(handler, query=query) == arguments


def test_beside_a_body_a_marked_model_is_in_the_query():
    arguments = bind(with_model_and_body, query={"limit": ["25"]}, body=b'{"id":"o1"}')

    assert arguments == {"order": Order(id="o1"), "page": Page(limit=25)}


def with_model(id: int, order: Order, dry_run: bool = False): ...


def with_fields(id: int, name: str, quantity: int = 1): ...


def with_models(order: Order, item: Item, dry_run: bool = False): ...


def with_list(names: list[str]): ...


def with_bytes(id: int, content: bytes, name: str = ""): ...


def with_marked_body(note: Annotated[str, Body()], name: str = ""): ...


def with_body_alias(order: Order, note: Annotated[str, Body("remark")]): ...


def with_query_list(order: Order, tags: Annotated[list[str], Query("tag")]): ...


def with_optional_body(order: Order | None = None): ...


def with_event(event: Event[Order]): ...


def with_nothing(ctx: Context): ...


ID = {"id": "3"}


@pytest.mark.parametrize(
    ("handler", "request_parts", "arguments"),
    [
        (
            with_model,
            {"path": ID, "query": {"dry_run": ["1"]}, "body": b'{"id":"o1"}'},
            {"id": 3, "order": Order(id="o1"), "dry_run": True},
        ),
        (
            with_fields,
            {"path": ID, "query": {"name": ["no"]}, "body": b'{"name":"Ann","id":9}'},
            {"id": 3, "name": "Ann", "quantity": 1},
        ),
        (
            with_models,
            {
                "query": {"dry_run": ["true"]},
                "body": b'{"order":{"id":"o1"},"item":{"sku":"a","qty":1}}',
            },
            {"order": Order(id="o1"), "item": Item(sku="a", qty=1), "dry_run": True},
        ),
        (with_list, {"body": b'["a"]'}, {"names": ["a"]}),
        (
            with_bytes,
            {"path": ID, "query": {"name": ["n"]}, "body": b"\xff"},
            {"id": 3, "content": b"\xff", "name": "n"},
        ),
        (
            with_marked_body,
            {"query": {"name": ["n"]}, "body": b'"hello"'},
            {"note": "hello", "name": "n"},
        ),
        (
            with_body_alias,
            {"body": b'{"order":{"id":"o1"},"remark":"quick"}'},
            {"order": Order(id="o1"), "note": "quick"},
        ),
        (
            with_query_list,
            {"query": {"tag": ["a", "b"]}, "body": b'{"id":"o1"}'},
            {"order": Order(id="o1"), "tags": ["a", "b"]},
        ),
        (with_optional_body, {"body": b""}, {}),
        (with_nothing, {"query": {"a": ["b"]}, "body": b"\xff"}, {}),
        (with_nothing, {}, {}),
    ],
)
def test_with_a_body(handler, request_parts, arguments):
    assert bind(handler, **request_parts) == arguments


def test_an_event_is_the_body():
    (event,) = bind(with_event, body=b'{"id":"o1"}').values()

    assert (event.type, event.data) == ("eventmesh.invocation", Order(id="o1"))
    assert reasons(with_event, body=b"{}") == [(("body", "id"), "missing")]


def with_headers(
    x_request_id: Annotated[str, Header()],
    token: Annotated[str, Header("Authorization")] = "none",
    retries: Annotated[int, Header()] = 0,
): ...


@pytest.mark.parametrize("kind", [dict, CIMultiDict])
def test_headers_are_found_in_any_case(kind):
    headers = kind({"X-Request-ID": "r1", "authorization": "t", "Retries": "3"})

    arguments = bind(with_headers, headers=headers, body=b"")

    assert arguments == {"x_request_id": "r1", "token": "t", "retries": 3}


def with_path_alias(order_id: Annotated[int, Path("id")], version: Annotated[str, Path()]): ...


def test_a_marker_names_the_part_of_the_path():
    arguments = bind(with_path_alias, path={"id": "3", "version": "v1"}, body=b"{}")

    assert arguments == {"order_id": 3, "version": "v1"}


def with_everything(
    id: int,
    order: Order,
    limit: Annotated[int, Field(le=100)],
    tags: Annotated[list[int], Query("tag")],
    x_y: Annotated[int, Header()],
): ...


@pytest.mark.parametrize(
    ("handler", "request_parts", "expected"),
    [
        (
            with_everything,
            {
                "path": {"id": "x"},
                "query": {"limit": ["101"], "tag": ["1", "b"]},
                "headers": {"x-y": "?"},
                "body": b'{"id":"o1","items":[{"sku":"a","qty":"many"}]}',
            },
            [
                (("path", "id"), "int_parsing"),
                (("query", "limit"), "less_than_equal"),
                (("query", "tag", 1), "int_parsing"),
                (("header", "x-y"), "int_parsing"),
                (("body", "items", 0, "qty"), "int_parsing"),
            ],
        ),
        (
            with_everything,
            {"path": ID, "body": b"{"},
            [
                (("query", "limit"), "missing"),
                (("query", "tag"), "missing"),
                (("header", "x-y"), "missing"),
                (("body",), "json_invalid"),
            ],
        ),
        (with_query_model, {"query": {"limit": ["7"]}}, [(("query", "limit"), "literal_error")]),
        (
            with_strict_model,
            {"query": {"colour": ["red"]}},
            [(("query", "colour"), "extra_forbidden")],
        ),
        (with_fields, {"path": ID, "body": b""}, [(("body", "name"), "missing")]),
        (with_models, {"body": b'{"order":{}}'}, [
            (("body", "order", "id"), "missing"),
            (("body", "item"), "missing"),
        ]),
        (with_list, {"body": b"[1]"}, [(("body", 0), "string_type")]),
        (get, {"path": ID, "query": {"limit": [""]}}, [(("query", "limit"), "int_parsing")]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told_at_once(handler, request_parts, expected):
    assert reasons(handler, **request_parts) == expected


TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))


@given(TEXTS, st.dictionaries(st.sampled_from(["limit", "tag", "page"]), st.lists(TEXTS)), TEXTS)
def test_whatever_comes_is_bound_or_refused_without_showing_it(text, query, body):
    for handler in (with_everything, with_query_model, get, with_models):
        path = {"id": f"s3cret{text}"} if "id" in handler.__annotations__ else {}
        sent = {name: [f"s3cret{one}" for one in texts] for name, texts in query.items()}
        for error in failures(handler, path=path, query=sent, body=f"s3cret{body}".encode()):
            assert "s3cret" not in f"{error!r} {error} {error.__cause__}"
            assert error.__suppress_context__ or error.__context__ is None


def failures(handler: Callable[..., Any], **request: Any) -> list[PayloadInvalid]:
    try:
        bind(handler, **request)
    except PayloadInvalid as error:
        return [error]
    return []


def test_only_what_came_over_http_can_be_bound_so():
    binder = compile_signature(get).build_http_binder(
        RouteTemplate("GET /{id}", ("id",), has_body=False)
    )

    with pytest.raises(TypeError, match="came over HTTP"):
        binder(Invocation("shop.f", "id-1", b"", 0.0))
