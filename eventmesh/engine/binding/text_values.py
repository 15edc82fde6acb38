"""Values that arrive as text: in a path, a query or a header.

What a type looks like from outside is read off its JSON schema, so that every type that pydantic
knows, or a user taught it, is treated by the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from operator import itemgetter
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json

Schema: TypeAlias = Mapping[str, Any]
Reader: TypeAlias = Callable[[Sequence[str]], Any]
"""Makes what is validated of the texts, one or more, that a request has under one name."""

_DEFS: Final = "$defs"
_last: Final[Reader] = itemgetter(-1)


class Shape(Enum):
    """What a value of a type looks like in JSON, `null` aside."""

    PLAIN = "a string, a number or a boolean"
    LIST = "a list of plain values"
    OBJECT = "an object"
    ANY = "anything"
    OTHER = "something else"


class _Quiet(GenerateJsonSchema):
    # Only the shape is looked at here, and a default in some model has no part in that.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


def schema_of(adapter: TypeAdapter[Any]) -> Schema:
    """The JSON schema of what a type is made from; of a type that has none, that of anything."""
    try:
        return adapter.json_schema(schema_generator=_Quiet)
    except PydanticInvalidForJsonSchema:
        return {}


def shape_of(schema: Schema) -> Shape:
    """The shape that all alternatives of a schema share."""
    defs = schema.get(_DEFS, {})
    shapes = {_shape(one, defs) for one in _alternatives(schema, defs)}
    if shapes <= {Shape.PLAIN}:
        return Shape.PLAIN
    if shapes <= {Shape.PLAIN, Shape.LIST}:
        return Shape.LIST
    return shapes.pop() if len(shapes) == 1 else Shape.OTHER


def reader_of(schema: Schema) -> Reader:
    """How texts become a value of this schema, which is no object; of several, the last counts.

    pydantic makes numbers and booleans of text, but it compares a `Literal` as it is: so the
    text of each of its values that is no string is replaced by the value.
    """
    words = dict(_words(schema))
    if shape_of(schema) is Shape.LIST:
        return (lambda texts: [words.get(text, text) for text in texts]) if words else list
    return (lambda texts: words.get(texts[-1], texts[-1])) if words else _last


def readers_of(schema: Schema) -> Mapping[str, Reader]:
    """How texts become the fields of this schema, which is an object."""
    defs = schema.get(_DEFS, {})
    return {
        name: reader_of({**field, _DEFS: defs})
        for one in _alternatives(schema, defs)
        for name, field in one.get("properties", {}).items()
    }


def _alternatives(schema: Schema, defs: Mapping[str, Schema]) -> Iterator[Schema]:
    if "$ref" in schema:
        yield from _alternatives(defs[schema["$ref"].rpartition("/")[2]], defs)
    elif choices := schema.get("anyOf") or schema.get("oneOf"):
        for choice in choices:
            yield from _alternatives(choice, defs)
    elif schema.get("type") != "null":
        yield schema


def _shape(schema: Schema, defs: Mapping[str, Schema]) -> Shape:
    match schema.get("type"):
        case "object":
            return Shape.OBJECT
        case "array":
            items = (one for item in _items(schema) for one in _alternatives(item, defs))
            plain = all(one.get("type") not in ("array", "object") for one in items)
            return Shape.LIST if plain else Shape.OTHER
        case None if "enum" not in schema and "const" not in schema:
            return Shape.ANY
        case _:
            return Shape.PLAIN


def _items(schema: Schema) -> Sequence[Schema]:
    return [*schema.get("prefixItems", ()), schema.get("items", {})]


def _words(schema: Schema) -> Iterator[tuple[str, Any]]:
    defs = schema.get(_DEFS, {})
    for one in _alternatives(schema, defs):
        choices = [one]
        if one.get("type") == "array":
            choices = [choice for item in _items(one) for choice in _alternatives(item, defs)]
        for choice in choices:
            for constant in (*choice.get("enum", ()), choice.get("const", "")):
                if not isinstance(constant, str | None):
                    yield to_json(constant).decode(), constant
