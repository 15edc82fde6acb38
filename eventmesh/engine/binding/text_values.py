"""Reads values that arrive as strings: in a path, a query or a header.

The shape of a type is read from its JSON schema, so that the same rules apply to every type that
pydantic supports, or that a user has added.
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
"""Converts the strings that a request has under one name, one or more, to the value to validate."""

_DEFS: Final = "$defs"
_last: Final[Reader] = itemgetter(-1)


class Shape(Enum):
    """The shape of a type's values in JSON, apart from `null`."""

    PLAIN = "a string, a number or a boolean"
    LIST = "a list of plain values"
    OBJECT = "an object"
    ANY = "anything"
    OTHER = "something else"


class _Quiet(GenerateJsonSchema):
    # Only the shape matters here, and the default of a field does not change it.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


def read_schema(adapter: TypeAdapter[Any]) -> Schema:
    """Return the JSON schema of a type's input; `{}` for a type without one: it allows anything."""
    try:
        return adapter.json_schema(schema_generator=_Quiet)
    except PydanticInvalidForJsonSchema:
        return {}


def find_shape(schema: Schema) -> Shape:
    """Find the shape that all alternatives of a schema share."""
    defs = schema.get(_DEFS, {})
    shapes = {_shape(alternative, defs) for alternative in _alternatives(schema, defs)}
    if shapes <= {Shape.PLAIN}:
        return Shape.PLAIN
    if shapes <= {Shape.PLAIN, Shape.LIST}:
        return Shape.LIST
    return shapes.pop() if len(shapes) == 1 else Shape.OTHER


def build_reader(schema: Schema) -> Reader:
    """Build the reader for a schema that is not an object. Of several strings, the last one counts.

    pydantic converts strings to numbers and booleans, but compares the values of a `Literal` as
    they are. So the string of each such value that is not itself a string is replaced by the value.
    """
    constants = dict(_constants(schema))
    if find_shape(schema) is Shape.LIST:
        return (lambda texts: [constants.get(text, text) for text in texts]) if constants else list
    return (lambda texts: constants.get(texts[-1], texts[-1])) if constants else _last


def build_field_readers(schema: Schema) -> Mapping[str, Reader]:
    """Build the readers for the fields of a schema that is an object."""
    defs = schema.get(_DEFS, {})
    return {
        name: build_reader({**field, _DEFS: defs})
        for alternative in _alternatives(schema, defs)
        for name, field in alternative.get("properties", {}).items()
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
            choices = [choice for item in _items(schema) for choice in _alternatives(item, defs)]
            plain = all(choice.get("type") not in ("array", "object") for choice in choices)
            return Shape.LIST if plain else Shape.OTHER
        case None if "enum" not in schema and "const" not in schema:
            return Shape.ANY
        case _:
            return Shape.PLAIN


def _items(schema: Schema) -> Sequence[Schema]:
    return [*schema.get("prefixItems", ()), schema.get("items", {})]


def _constants(schema: Schema) -> Iterator[tuple[str, Any]]:
    defs = schema.get(_DEFS, {})
    for alternative in _alternatives(schema, defs):
        choices = [alternative]
        if alternative.get("type") == "array":
            choices = [
                choice for item in _items(alternative) for choice in _alternatives(item, defs)
            ]
        for choice in choices:
            for constant in (*choice.get("enum", ()), choice.get("const", "")):
                if not isinstance(constant, str | None):
                    yield to_json(constant).decode(), constant
