"""Which parameters are plain: fields among others, rather than a payload by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

import pytest
from pydantic import (
    BaseModel,
    Field,
    JsonValue,
    PlainValidator,
    RootModel,
    SecretStr,
    WithJsonSchema,
)
from typing_extensions import TypeAliasType

from eventmesh.engine.binding import Body, Query, Shape, compile_signature


class Order(BaseModel):
    id: str
    default_without_json: Any = object()


class Node(BaseModel):
    children: list[Node] = []


class Reference(RootModel[str]): ...


@dataclass
class Point:
    x: int


class Mixed(Enum):
    ONE = 1
    TWO = "two"


OrderId = NewType("OrderId", str)
Deep = TypeAliasType("Deep", "list[Deep] | int")


def shape_and_plainness(annotation: Any) -> tuple[Shape, bool]:
    def handle(given): ...

    handle.__annotations__ = {"given": annotation}
    (parameter,) = compile_signature(handle).parameters
    return parameter.shape, parameter.plain


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        int,
        float,
        bool,
        Decimal,
        datetime,
        date,
        time,
        timedelta,
        UUID,
        IPv4Address,
        SecretStr,
        Mixed,
        OrderId,
        None,
        Literal["a", 1],
        int | None,
        int | str,
        Annotated[int, Field(ge=1)],
        Annotated[int | None, Query()],
    ],
    ids=str,
)
def test_plain(annotation):
    assert shape_and_plainness(annotation) == (Shape.PLAIN, True)


@pytest.mark.parametrize(
    ("annotation", "shape"),
    [
        (list[int], Shape.LIST),
        (list[Mixed] | None, Shape.LIST),
        (set[str], Shape.LIST),
        (tuple[int, str], Shape.LIST),
        (Sequence[OrderId], Shape.LIST),
        (list, Shape.LIST),
        (str | list[str], Shape.LIST),
        (Order, Shape.OBJECT),
        (Order | None, Shape.OBJECT),
        (Order | Point, Shape.OBJECT),
        (Node, Shape.OBJECT),
        (dict[str, int], Shape.OBJECT),
        (Any, Shape.ANY),
        (object, Shape.ANY),
        (JsonValue, Shape.ANY),
        (Annotated[object, PlainValidator(str)], Shape.ANY),
        (Callable[[int], int], Shape.ANY),
        (list[Order], Shape.OTHER),
        (list[list[int]], Shape.OTHER),
        (Order | int, Shape.OTHER),
        (Deep, Shape.OTHER),
        (bytes, Shape.PLAIN),
        (bytes | None, Shape.PLAIN),
        (Reference, Shape.PLAIN),
    ],
    ids=str,
)
def test_not_plain(annotation, shape):
    assert shape_and_plainness(annotation) == (shape, False)


def test_the_schema_a_user_gives_a_type_decides():
    annotation = Annotated[object, PlainValidator(str), WithJsonSchema({"type": "string"})]

    assert shape_and_plainness(annotation) == (Shape.PLAIN, True)


@pytest.mark.parametrize(("annotation", "fills"), [(Annotated[str, Body()], True), (str, False)])
def test_a_marker_makes_plain_text_the_body(annotation, fills):
    def handle(given): ...

    handle.__annotations__ = {"given": annotation}
    (parameter,) = compile_signature(handle).parameters

    assert parameter.fills_body is fills
