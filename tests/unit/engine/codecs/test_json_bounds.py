"""What JSON may contain before anything is made of it."""

import json
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from eventmesh.engine.codecs.json import decode, decode_as
from eventmesh.engine.codecs.json_bounds import (
    check_finite,
    check_nodes,
    count_nodes,
    is_always_finite,
    is_small_json,
)
from eventmesh.model.errors import PayloadInvalid, PayloadTooLarge
from eventmesh.model.limits import DEFAULT_MAX_NODES

BOMBS = [
    b"[" + b"[]," * DEFAULT_MAX_NODES + b"[]]",
    b"[" + b'{"":0},' * DEFAULT_MAX_NODES + b"{}]",
    b"[" + b"0," * DEFAULT_MAX_NODES + b"0]",
    b"[" * DEFAULT_MAX_NODES + b"]" * DEFAULT_MAX_NODES,
    b'{"a":' * DEFAULT_MAX_NODES + b"0" + b"}" * DEFAULT_MAX_NODES,
    b"[" + b"[[]]," * DEFAULT_MAX_NODES,
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def values_in(decoded):
    if isinstance(decoded, dict):
        return 1 + sum(map(values_in, decoded.values()))
    if isinstance(decoded, list):
        return 1 + sum(map(values_in, decoded))
    return 1


@given(PLAIN)
def test_no_value_is_missed(decoded):
    body = json.dumps(decoded).encode()
    assert values_in(decoded) <= count_nodes(body) <= len(body) + 1


@pytest.mark.parametrize("bomb", BOMBS, ids=range(len(BOMBS)))
def test_a_bomb_is_refused_unparsed(bomb):
    # Once it is parsed, some of these would be another error.
    with pytest.raises(PayloadTooLarge, match="JSON values, the limit is 200,000"):
        decode(bomb)
    with pytest.raises(PayloadTooLarge):
        decode_as(bomb, TypeAdapter(Any))
    assert not is_small_json(bomb)


def test_as_many_values_as_the_limit_are_taken():
    check_nodes(b"[1,2,3]", 4)
    with pytest.raises(PayloadTooLarge) as refused:
        check_nodes(b"[1,2,3,4]", 4, "max_nodes")
    error = refused.value
    assert (error.size, error.limit, error.setting) == (5, 4, "max_nodes")


@pytest.mark.parametrize("levels", [256, 1025, 100_000])
def test_the_parsers_bound_the_depth(levels):
    deep = b"[" * levels + b"]" * levels
    with pytest.raises(ValidationError, match="recursion limit"):
        TypeAdapter(Any).validate_json(deep)
    if levels > 1024:
        with pytest.raises(orjson.JSONDecodeError, match="limit"):
            orjson.loads(deep)


@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" + "0" * 400]
)
@pytest.mark.parametrize("form", ["{}", "[1, {}]", '{{"a": [{{"b": {}}}]}}'])
def test_numbers_that_are_none_are_refused(text, form):
    body = form.format(text).encode()
    with pytest.raises(PayloadInvalid):
        decode(body)
    with pytest.raises(PayloadInvalid) as refused:
        check_finite(body, "the payload")
    assert refused.value.errors[0]["type"] == "json_invalid"


@pytest.mark.parametrize(
    "text",
    [
        *("1E999", "1e+999", "1.5E+400", "1e0000309", "0.1e310", "9" * 309, "9" * 309 + ".5"),
        *("1" * 250 + "e99", "2" * 210 + "e+99", "-" + "2" * 400),
    ],
)
def test_numbers_of_any_form_become_no_infinity(text):
    body = f'{{"name": "Ada", "value":{text}}}'.encode()
    assert not isfinite(TypeAdapter(dict[str, float | str]).validate_json(body)["value"])
    with pytest.raises(PayloadInvalid):
        check_finite(body, "the payload")


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"1e308", b'"NaN"', b'["1e999"]', b'"Ida Noether"', b'{"id": "3e4f"}'),
        *(b"9" * 308, b'"' + b"9" * 400 + b'"', b"0." + b"1" * 400, b"2" * 400 + b"e-200"),
    ],
)
def test_numbers_that_are_some_are_taken(body):
    check_finite(body, "the payload")


class Colour(Enum):
    RED = "red"


class Inner(BaseModel):
    sku: str
    tags: list[str] = []
    count: int | None = None
    price: Decimal = Decimal(1)


class Outer(BaseModel):
    type: Literal["a", "b"]
    colour: Colour
    lines: list[Inner]
    by_id: dict[str, UUID]
    next: "Outer | None" = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    sku: str


class Priced(BaseModel):
    lines: list[dict[str, float]]


@pytest.mark.parametrize(
    "type", [str, int, list[int], Inner, Outer, dict[str, Outer], bool | None], ids=repr
)
def test_types_without_floats_need_no_look(type):
    assert is_always_finite(TypeAdapter(type))


@pytest.mark.parametrize(
    "type",
    [
        *(float, Any, list, dict, list[Any], set, int | float, Open, Priced, list[Priced]),
        *(dict[str, Any], object, Annotated[float, Field(gt=0)], tuple[int, float], complex),
    ],
    ids=repr,
)
def test_types_that_may_hold_a_float_are_looked_at(type):
    assert not is_always_finite(TypeAdapter(type))
