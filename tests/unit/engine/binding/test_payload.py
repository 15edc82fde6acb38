"""How the payload of an invocation by name becomes the arguments of a handler."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypedDict

import pytest
import typing_extensions
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from eventmesh.engine.binding import Body, Header, Query, compile_signature
from eventmesh.engine.context import Context
from eventmesh.model.errors import DeclarationError, PayloadInvalid
from eventmesh.model.event import Event
from eventmesh.model.invocation import Invocation

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Item(BaseModel):
    sku: str
    qty: Annotated[int, Field(ge=1)]


class Order(BaseModel):
    id: str
    items: list[Item] = []


@dataclass
class Point:
    x: int
    y: int


class Person(typing_extensions.TypedDict):
    name: str


def bind(handler: Callable[..., Any], payload: bytes, **attributes: Any) -> dict[str, Any]:
    binder = compile_signature(handler).build_binder()
    return binder(Invocation("shop.f", "id-1", payload, NOON.timestamp(), **attributes))


def reasons(handler: Callable[..., Any], payload: bytes) -> list[tuple[Any, str]]:
    with pytest.raises(PayloadInvalid) as caught:
        bind(handler, payload)
    assert all(error.keys() == {"loc", "msg", "type"} for error in caught.value.errors)
    return [(error["loc"], error["type"]) for error in caught.value.errors]


def failures(handler: Callable[..., Any], payload: bytes) -> list[PayloadInvalid]:
    try:
        bind(handler, payload)
    except PayloadInvalid as error:
        return [error]
    return []


def of_model(order: Order, ctx: Context): ...


def of_dataclass(point: Point): ...


def of_typed_dict(person: Person): ...


def of_list(items: list[Item]): ...


def of_dict(fields: dict[str, int]): ...


def of_anything(payload: Any): ...


def unannotated(payload): ...


def of_union(shape: Point | Item): ...


def of_bytes(body: bytes): ...


def of_marked_list(names: Annotated[list[str], Query()]): ...


def of_marked_text(text: Annotated[str, Body()]): ...


@pytest.mark.parametrize(
    ("handler", "payload", "arguments"),
    [
        (of_model, b'{"id":"o1","more":1}', {"order": Order(id="o1")}),
        (of_dataclass, b'{"x":1,"y":"2"}', {"point": Point(1, 2)}),
        (of_typed_dict, b'{"name":"Ann"}', {"person": {"name": "Ann"}}),
        (of_list, b'[{"sku":"a","qty":1}]', {"items": [Item(sku="a", qty=1)]}),
        (of_dict, b'{"a":1}', {"fields": {"a": 1}}),
        (of_anything, b'{"a":[1,null]}', {"payload": {"a": [1, None]}}),
        (of_anything, b"", {"payload": None}),
        (unannotated, b"3", {"payload": 3}),
        (of_union, b'{"x":1,"y":2}', {"shape": Point(1, 2)}),
        (of_bytes, b"\xff\x00 no JSON", {"body": b"\xff\x00 no JSON"}),
        (of_bytes, b"", {"body": b""}),
        (of_marked_list, b'["a","b"]', {"names": ["a", "b"]}),
        (of_marked_text, b'"hello"', {"text": "hello"}),
    ],
)
def test_one_parameter_that_is_not_plain_is_the_payload_as_a_whole(handler, payload, arguments):
    assert bind(handler, payload) == arguments


def of_fields(
    quantity: int, at: datetime, price: Decimal = Decimal(1), tags: list[str] | None = None
): ...


def of_one_field(name: str): ...


def of_models(order: Order, point: Point): ...


def of_odd_names(
    _private: int, json: str, model_config: int, token: Annotated[str, Header("x-t")]
): ...


@pytest.mark.parametrize(
    ("handler", "payload", "arguments"),
    [
        (
            of_fields,
            b'{"quantity":"3","at":"2024-05-01T12:00:00Z","unknown":1}',
            {"quantity": 3, "at": NOON, "price": Decimal(1), "tags": None},
        ),
        (
            of_fields,
            b'{"quantity":3,"at":"2024-05-01T12:00:00Z","price":"2.5","tags":["a"]}',
            {"quantity": 3, "at": NOON, "price": Decimal("2.5"), "tags": ["a"]},
        ),
        (of_one_field, b'{"name":"Ann"}', {"name": "Ann"}),
        (
            of_models,
            b'{"order":{"id":"o1"},"point":{"x":1,"y":2}}',
            {"order": Order(id="o1"), "point": Point(1, 2)},
        ),
        (
            of_odd_names,
            b'{"_private":1,"json":"{}","model_config":2,"token":"t"}',
            {"_private": 1, "json": "{}", "model_config": 2, "token": "t"},
        ),
    ],
)
def test_other_parameters_are_the_fields_of_the_payload(handler, payload, arguments):
    assert bind(handler, payload) == arguments


def with_defaults(limit: int = 10, name: str = "all"): ...


def optional_model(order: Order | None = None): ...


def default_model(order: Order = Order(id="none")): ...  # noqa: B008


def nullable_model(order: Order | None): ...


def optional_bytes(body: bytes | None = None): ...


def nothing(): ...


def only_context(ctx: Context): ...


@pytest.mark.parametrize("payload", [b"", b"null"])
@pytest.mark.parametrize(
    ("handler", "arguments"),
    [
        (with_defaults, {"limit": 10, "name": "all"}),
        (optional_model, {}),
        (default_model, {}),
        (nullable_model, {"order": None}),
        (optional_bytes, {}),
        (nothing, {}),
        (only_context, {}),
    ],
)
def test_without_a_payload_the_defaults_apply(handler, arguments, payload):
    assert bind(handler, payload) == arguments


@pytest.mark.parametrize("payload", [b'{"a":1}', b"\xff no JSON"])
def test_a_function_without_parameters_ignores_the_payload(payload):
    assert bind(nothing, payload) == {}
    assert compile_signature(nothing).payload is None


@pytest.mark.parametrize("payload", [b"7", b"[7]", b'"7"'])
def test_a_bare_value_is_told_how_to_send_it_and_how_to_take_it(payload):
    def handle(n: int): ...

    def handle_constrained(n: Annotated[int, Field(gt=3)]): ...

    def handle_several(n: int, m: str = ""): ...

    as_object = r"Input should be an object with the field 'n', \{\"n\": …\}"
    bare = r"to take the bare value, mark the parameter: n: Annotated\[int, Body\(\)\]"
    for handler in (handle, handle_constrained):
        with pytest.raises(PayloadInvalid, match=f"{as_object}; {bare}"):
            bind(handler, payload)
    with pytest.raises(PayloadInvalid, match=r"an object with the fields 'n' and 'm'$"):
        bind(handle_several, payload)


def test_the_way_to_take_a_bare_value():
    def handle(n: Annotated[int, Body()]): ...

    assert bind(handle, b"7") == {"n": 7}


def test_each_call_gets_arguments_of_its_own():
    def handle(names: list[str], seen: list[str] = []): ...  # noqa: B006

    binder = compile_signature(handle).build_binder()
    invocation = Invocation("shop.f", "id-1", b'{"names":[]}', 0.0)
    binder(invocation)["seen"].append("once")

    assert binder(invocation)["seen"] == []


@pytest.mark.parametrize(
    ("handler", "payload", "expected"),
    [
        (of_model, b"{}", [(("id",), "missing")]),
        (of_model, b"", [((), "model_type")]),
        (of_model, b"not JSON", [((), "json_invalid")]),
        (of_model, b'{"id":"o1","items":[{"qty":0}]}', [
            (("items", 0, "sku"), "missing"),
            (("items", 0, "qty"), "greater_than_equal"),
        ]),
        (of_fields, b'{"quantity":"x"}', [
            (("quantity",), "int_parsing"),
            (("at",), "missing"),
        ]),
        (of_fields, b"", [(("quantity",), "missing"), (("at",), "missing")]),
        (of_fields, b"[1]", [((), "dict_type")]),
        (of_fields, b"{", [((), "json_invalid")]),
        (of_models, b'{"order":{},"point":{"x":"a","y":1}}', [
            (("order", "id"), "missing"),
            (("point", "x"), "int_parsing"),
        ]),
        (of_anything, b"{", [((), "json_invalid")]),
    ],
)  # fmt: skip
def test_every_field_that_does_not_fit_is_told(handler, payload, expected):
    assert reasons(handler, payload) == expected


def test_the_message_names_field_and_reason():
    with pytest.raises(PayloadInvalid) as caught:
        bind(of_model, b'{"items":[]}')

    assert str(caught.value) == "the payload does not fit: id: Field required"


PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=5)
SECRET = PRINTABLE.map(lambda text: f"s3cret{text}")


@given(
    st.recursive(
        SECRET | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "x", "n"]), inner),
    )
)
def test_an_error_never_shows_what_came_in(content):
    payload = json.dumps(content).encode()

    for handler in (of_model, of_dataclass, of_union, of_fields, of_list, of_one_field):
        for error in failures(handler, payload):
            assert "s3cret" not in f"{error!r} {error} {error.errors} {error.__cause__}"
            assert error.__suppress_context__


@given(st.integers(), st.text(), st.booleans(), st.lists(st.integers()))
def test_what_json_can_say_arrives_as_it_was(number, text, flag, numbers):
    def handle(number: int, text: str, flag: bool, numbers: list[int]): ...

    sent = {"number": number, "text": text, "flag": flag, "numbers": numbers}

    assert bind(handle, json.dumps(sent).encode()) == sent


def of_raw(event: Event[bytes]): ...


def test_the_payload_is_described_for_documentation():
    payload = compile_signature(with_defaults).payload

    assert payload is not None
    assert not payload.whole
    assert not payload.required
    assert not payload.raw
    assert payload.adapter.json_schema()["properties"] == {
        "limit": {"default": 10, "title": "Limit", "type": "integer"},
        "name": {"default": "all", "title": "Name", "type": "string"},
    }


@pytest.mark.parametrize(
    ("handler", "whole", "required", "raw"),
    [
        (of_model, True, True, False),
        (optional_model, True, False, False),
        (of_bytes, True, True, True),
        (of_raw, True, True, True),
        (of_fields, False, True, False),
    ],
)
def test_kinds_of_payloads(handler, whole, required, raw):
    payload = compile_signature(handler).payload

    assert payload is not None
    assert (payload.whole, payload.required, payload.raw) == (whole, required, raw)


class OldTypedDict(TypedDict):
    name: Annotated[str, Field(pattern="(")]


def test_a_type_that_pydantic_refuses_is_refused_when_declared():
    def handle(person: OldTypedDict): ...

    with pytest.raises(DeclarationError, match=r"handle\(person: .*OldTypedDict\): "):
        compile_signature(handle)
