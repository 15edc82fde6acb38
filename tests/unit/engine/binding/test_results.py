"""How what a handler returns or yields becomes bytes."""

from __future__ import annotations

import json
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field
from typing_extensions import TypedDict

from eventmesh.engine.binding import compile_signature
from eventmesh.model.errors import FunctionError


class Receipt(BaseModel):
    id: str
    total: float = Field(1.5, alias="totalAmount")


class Stamped(Receipt):
    at: str = "noon"


class Deferred(BaseModel):
    model_config = ConfigDict(defer_build=True)
    id: str


class Broken(BaseModel):
    @computed_field
    def total(self) -> float:
        raise KeyError("s3cret")


@dataclass
class Point:
    x: int
    y: int


class Person(TypedDict):
    name: str


def signature_of(returns: Any):
    def handle(): ...

    handle.__annotations__ = {"return": returns}
    return compile_signature(handle)


def unannotated(): ...


@pytest.mark.parametrize(
    ("returns", "value", "encoded"),
    [
        (Receipt, Receipt(id="r1", totalAmount=2), b'{"id":"r1","totalAmount":2.0}'),
        (Receipt, Stamped(id="r1"), b'{"id":"r1","totalAmount":1.5}'),
        (Receipt | None, None, b"null"),
        (Deferred, Deferred(id="d"), b'{"id":"d"}'),
        (list[Receipt], [Receipt(id="r1")], b'[{"id":"r1","totalAmount":1.5}]'),
        (Point, Point(1, 2), b'{"x":1,"y":2}'),
        (Person, {"name": "Ann"}, b'{"name":"Ann"}'),
        (None, None, b"null"),
        (int, 3, b"3"),
        (str, "a\u00e9", '"a\u00e9"'.encode()),
        (Decimal, Decimal("1.10"), b'"1.10"'),
        (datetime, datetime(2024, 5, 1, tzinfo=UTC), b'"2024-05-01T00:00:00Z"'),
        (set[UUID], {UUID(int=1)}, b'["00000000-0000-0000-0000-000000000001"]'),
        (Receipt, {"id": "r1", "totalAmount": "2"}, b'{"id":"r1","totalAmount":2.0}'),
        (Point, {"x": 1, "y": 2}, b'{"x":1,"y":2}'),
        (bytes, b"\xff\x00", b"\xff\x00"),
        (Any, None, b"null"),
        (Any, {"a": [1, None]}, b'{"a":[1,null]}'),
        (Any, Receipt(id="r1"), b'{"id":"r1","totalAmount":1.5}'),
        (Any, [Receipt(id="r1")], b'[{"id":"r1","totalAmount":1.5}]'),
    ],
)
def test_a_result_is_encoded_by_its_annotation(returns, value, encoded):
    assert signature_of(returns).encode(value) == encoded


def test_without_an_annotation_any_value_is_encoded():
    assert compile_signature(unannotated).encode({"a": Decimal(1)}) == b'{"a":"1"}'


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_json_can_say_comes_back_as_it_was(value):
    signature = compile_signature(unannotated)

    assert json.loads(signature.encode(value)) == value


def circle() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


@pytest.mark.parametrize(
    ("returns", "value", "told"),
    [
        (Receipt, {"totalAmount": "s3cret"}, r"a dict, .* \(id: .*; totalAmount: .*number"),
        (Receipt, None, "None, which does not fit .*Receipt"),
        (Receipt, Point(1, 2), "a Point, which does not fit .*Receipt"),
        (Receipt, Deferred(id="d"), "a Deferred, which does not fit .*Receipt"),
        (list[Receipt], [Deferred(id="d")], r"a list, which does not fit .* \(0: .*Receipt"),
        (Broken, Broken(), "a Broken, which has no JSON form"),
        (list[int], [1, "s3cret"], r"a list, which does not fit list\[int\] \(1: .*integer"),
        (int, "s3cret", r"a str, which does not fit int \(Input should be a valid integer"),
        (None, "s3cret", "a str, which does not fit None"),
        (Person, {"nick": "s3cret"}, r"a dict, which does not fit .* \(name: Field required\)"),
        (list[Any], [object()], "a list, which has no JSON form"),
        (str, "s3cret\ud800", "a str, which .*"),
        (bytes, "s3cret", "a str, which is not bytes: encode it"),
        (bytes, None, "None, which is not bytes"),
        (Any, b"s3cret", "a bytes, which may not be JSON: annotate it as bytes"),
        (Any, object(), "a object, which has no JSON form: use a pydantic model"),
        (Any, circle(), "a list, which has no JSON form"),
        (Any, "s3cret\ud800", "a str, which has no JSON form"),
    ],
)
def test_what_cannot_be_encoded_is_told_by_its_type_alone(returns, value, told):
    with pytest.raises(FunctionError, match=rf"handle\(\) returned {told}") as caught:
        signature_of(returns).encode(value)

    assert caught.value.type == "ResultNotEncodable"
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_model_is_trusted_to_hold_what_its_fields_say():
    receipt = Receipt(id="r1")
    receipt.id = 3  # pyright: ignore[reportAttributeAccessIssue]

    with warnings.catch_warnings(action="error"):
        assert signature_of(Receipt).encode(receipt) == b'{"id":3,"totalAmount":1.5}'


async def stream() -> AsyncIterator[Receipt]:
    yield Receipt(id="r1")


def test_a_stream_has_bytes_for_each_item_and_for_all_of_them():
    signature = compile_signature(stream)
    receipt = Receipt(id="r1")

    assert signature.encode_item(receipt) == b'{"id":"r1","totalAmount":1.5}'
    assert signature.encode([receipt]) == b'[{"id":"r1","totalAmount":1.5}]'
    assert signature.item_adapter.json_schema()["title"] == "Receipt"
    assert signature.result_adapter.json_schema()["type"] == "array"


def test_an_item_that_does_not_fit_is_said_to_be_yielded():
    with pytest.raises(FunctionError, match=r"stream\(\) yielded a dict, which .* \(id: "):
        compile_signature(stream).encode_item({"total": 1})
