import dataclasses
import enum
import math
import traceback
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter

from eventmesh.engine.codecs.json import (
    MAX_MESSAGE,
    MAX_REASONS,
    MAX_TRACEBACK,
    decode,
    decode_as,
    encode,
    function_error,
    get_adapter,
    truncate_middle,
)
from eventmesh.model.errors import DeclarationError, PayloadInvalid

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
PLAIN = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


class Order(BaseModel):
    order_id: int = Field(alias="orderId")
    price: Decimal = Decimal(1)
    note: Any = None


@dataclasses.dataclass
class Point:
    x: int = 1
    _y: int = 2


@pydantic.dataclasses.dataclass
class Line:
    from_point: Point = Field(default_factory=Point, alias="from")

    @pydantic.field_serializer("from_point")
    def short(self, point: Point) -> str:
        return f"@{point.x}"


class Pair(NamedTuple):
    a: int
    b: Decimal


class Colour(enum.Enum):
    RED = "red"


@given(PLAIN)
def test_plain_values_survive(value):
    assert decode(encode(value)) == value


@pytest.mark.parametrize("payload", [b"", b"\xff\x00", b'{"a": 1}', bytearray(b"abc")])
def test_bytes_are_passed_on(payload):
    assert encode(payload) == bytes(payload)


@pytest.mark.parametrize(
    ("payload", "body"),
    [
        (None, b"null"),
        ("é", '"é"'.encode()),
        (Order(orderId=7), b'{"orderId":7,"price":"1","note":null}'),
        ([Order(orderId=7)], b'[{"orderId":7,"price":"1","note":null}]'),
        (Point(), b'{"x":1,"_y":2}'),
        ({"p": Point()}, b'{"p":{"x":1,"_y":2}}'),
        (Line(), b'{"from":"@1"}'),
        ([Line()], b'[{"from":"@1"}]'),
        (Pair(1, Decimal("1.10")), b'[1,"1.10"]'),
        (Colour.RED, b'"red"'),
        ({Colour.RED: {1: 2}}, b'{"red":{"1":2}}'),
        ({7}, b"[7]"),
        ({"raw": b"text"}, b'{"raw":"text"}'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (datetime(2024, 2, 29, tzinfo=UTC), b'"2024-02-29T00:00:00+00:00"'),
        (timedelta(seconds=90), b'"PT1M30S"'),
        (2**70, b"1180591620717411303424"),
    ],
)
def test_what_pydantic_can_write_has_a_json_form(payload, body):
    assert encode(payload) == body


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_in_json_is_null_everywhere(number):
    assert encode(number) == b"null"
    assert encode([number, Decimal(1)]) == b'[null,"1"]'
    assert encode(Order(orderId=1, note=number)) == b'{"orderId":1,"price":"1","note":null}'


def cycle():
    value: list[Any] = []
    value.append(value)
    return value


def nested(depth):
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "payload",
    [
        object(),
        [object()],
        Order(orderId=1, note=object()),
        Order,
        print,
        "\ud800",
        {"\ud800": 1},
        {"raw": b"\xff"},
        Order(orderId=1, note=b"\xff"),
        cycle(),
        nested(5000),
        ValueError("no"),
    ],
)
def test_what_has_no_json_form_is_refused_with_advice(payload):
    with pytest.raises(PayloadInvalid, match=r"cannot be sent as JSON .*: send a pydantic model"):
        encode(payload)


def test_an_empty_body_is_none():
    assert decode(b"") is None
    assert decode_as(b"", TypeAdapter(int | None)) is None
    with pytest.raises(PayloadInvalid, match="valid integer"):
        decode_as(b"", TypeAdapter(int))


@pytest.mark.parametrize(
    "body",
    [b" ", b"{", b"nul", b"NaN", b"'a'", b"\xff", b'"\xff"', b'"\\ud800"', b"1 2", b"[" * 5000],
)
def test_what_is_no_json_is_invalid(body):
    with pytest.raises(PayloadInvalid, match=r"^the reply is not JSON: "):
        decode(body, "the reply")
    with pytest.raises(PayloadInvalid, match=r"^the reply does not fit: payload: "):
        decode_as(body, TypeAdapter(dict), "the reply")


@given(st.binary())
def test_any_bytes_are_a_value_or_invalid(body):
    try:
        decode(body)
    except PayloadInvalid as error:
        assert "is not JSON" in str(error)  # noqa: PT017  # either will do


def test_a_long_integer_stays_exact_where_its_type_is_known():
    assert decode_as(encode(2**70), TypeAdapter(int)) == 2**70


def test_a_model_survives():
    order = Order(orderId=7, price=Decimal("1.10"), note=[None])
    assert decode_as(encode(order), get_adapter(Order)) == order


def test_an_invalid_payload_says_where_and_why_but_not_what():
    body = encode({"orderId": "hunter2", "price": "hunter2"})
    with pytest.raises(PayloadInvalid) as caught:
        decode_as(body, get_adapter(Order))
    error = caught.value
    assert [reason["loc"] for reason in error.errors] == [("orderId",), ("price",)]
    assert all(set(reason) == {"loc", "msg", "type"} for reason in error.errors)
    assert str(error).startswith("the payload does not fit: orderId: Input should be")
    assert "hunter2" not in "".join(traceback.format_exception(error))
    assert "hunter2" not in function_error(error).traceback


class Card(BaseModel):
    kind: Literal["card"]


class Cash(BaseModel):
    kind: Literal["cash"]


def test_a_tag_that_is_none_of_a_unions_is_not_told():
    payment = TypeAdapter(Annotated[Card | Cash, Field(discriminator="kind")])
    with pytest.raises(PayloadInvalid) as error:
        decode_as(b'{"kind": "s3cret"}', payment)
    assert "Input should have one of 'card', 'cash' as its 'kind'" in str(error.value)
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(("count", "listed"), [(100, 100), (101, 100), (20_000, 0)])
def test_of_many_reasons_some_are_listed_and_the_others_counted(count, listed):
    with pytest.raises(PayloadInvalid) as caught:
        decode_as(encode(["a"] * count), get_adapter(list[int]))
    reasons = caught.value.errors
    assert len([reason for reason in reasons if reason["loc"]]) == listed <= MAX_REASONS
    assert f"{count - listed:,} reasons are not listed" in str(caught.value) or count == listed


def test_reasons_do_not_grow_with_what_was_sent():
    class Strict(BaseModel, extra="forbid"):
        pass

    with pytest.raises(PayloadInvalid) as caught:
        decode_as(encode({"k" * 100_000: 1}), get_adapter(Strict))
    assert len(str(caught.value)) < 2000


def test_the_validator_of_a_type_is_compiled_once():
    assert get_adapter(dict[str, Order]) is get_adapter(dict[str, Order])


def test_a_type_may_have_annotations_that_cannot_be_hashed():
    assert get_adapter(Annotated[int, {"unit": "m"}]).validate_python("3") == 3


@pytest.mark.parametrize("type", [Random, "Missing", list["Missing"]])  # noqa: F821
def test_a_type_that_cannot_be_validated_is_refused_with_advice(type):
    with pytest.raises(DeclarationError, match="cannot be validated: use a pydantic model"):
        get_adapter(type)


@given(st.text(max_size=300) | st.text("a\udcff", max_size=300), st.integers(60, 200))
def test_a_bounded_text_is_no_longer_than_it_may_and_can_be_encoded(text, most):
    short = truncate_middle(text, most)
    assert len(short) <= most
    assert short.encode().decode() == short


class Odd(Exception):
    pass


def raised(error):
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001  # it is what is looked at
        return function_error(caught)


def test_a_failure_has_the_type_message_and_traceback_of_what_was_raised():
    error = raised(Odd("bad"))
    assert (error.type, error.message) == (f"{__name__}.Odd", "bad")
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert error.traceback.endswith(f"{__name__}.Odd: bad\n")
    assert "in raised" in error.traceback


@pytest.mark.parametrize(
    ("error", "type", "message"),
    [
        (ValueError("bad"), "ValueError", "bad"),
        (ValueError(), "ValueError", ""),
        (KeyError("sku"), "KeyError", "'sku'"),
        (SystemExit(3), "SystemExit", "3"),
        (ValueError("line 1\nline 2"), "ValueError", "line 1\nline 2"),
        (OSError(2, "no such file", "\udcff"), "FileNotFoundError", None),
        (ValueError("\udcff"), "ValueError", r"\udcff"),
    ],
)
def test_what_is_built_in_goes_by_its_short_name(error, type, message):
    failure = raised(error)
    assert failure.type == type
    assert message is None or failure.message == message
    assert failure.traceback.encode()


def test_a_program_s_own_exceptions_go_without_main():
    own = type("Own", (Exception,), {"__module__": "__main__"})
    assert raised(own("x")).type == "Own"


def test_an_exception_that_cannot_say_what_it_is_is_a_failure_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("speechless")

    failure = raised(Mute())
    assert failure.type.endswith("Mute")
    assert "str() failed" in failure.message
    assert "str() failed" in failure.traceback


def test_a_long_message_loses_its_middle():
    failure = raised(ValueError("a" * 10**6 + "b" * 10**6))
    assert len(failure.message) <= MAX_MESSAGE
    assert failure.message.startswith("a" * 4000)
    assert failure.message.endswith("b" * 4000)
    assert "1,991,858 characters left out" in failure.message
    assert len(failure.traceback) <= MAX_TRACEBACK
    assert failure.traceback.startswith("Traceback")


def test_a_group_is_told_with_all_that_is_in_it():
    group = ExceptionGroup("two", [ValueError("one"), ExceptionGroup("in", [KeyError("other")])])
    failure = raised(group)
    assert failure.type == "ExceptionGroup"
    assert failure.message == "two (2 sub-exceptions)"
    assert "ValueError: one" in failure.traceback
    assert "KeyError: 'other'" in failure.traceback


def test_causes_are_told_even_in_a_circle():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert "ValueError: second" in raised(first).traceback


def test_deep_recursion_is_told_briefly():
    def down():
        return down()

    try:
        down()
    except RecursionError as error:
        failure = function_error(error)
    assert failure.type == "RecursionError"
    assert len(failure.traceback) < 4000


def test_the_source_of_this_test_is_in_the_traceback_but_no_variable_is():
    secret = "hunter" + str(1 + 1)
    failure = raised(ValueError("bad"))
    assert Path(__file__).name in failure.traceback
    assert secret not in failure.traceback
