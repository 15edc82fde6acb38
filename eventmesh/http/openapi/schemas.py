"""The JSON schemas of an OpenAPI document, where each type has one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic.json_schema import GenerateJsonSchema

Json: TypeAlias = dict[str, Any]
SchemaMode: TypeAlias = Literal["validation", "serialization"]
Use: TypeAlias = tuple[str, SchemaMode, TypeAdapter[Any]]
"""A key, and the type whose schema it stands for: as it is read, or as it is written."""

SCHEMA_PREFIX: Final = "#/components/schemas/"

PROBLEM: Final = "eventmesh.Problem"
INVALID: Final = "eventmesh.Invalid"
ACCEPTED: Final = "eventmesh.Accepted"

BUILTIN_SCHEMAS: Final[Mapping[str, Json]] = {
    PROBLEM: {
        "title": "Problem",
        "description": "A problem as of RFC 9457.",
        "type": "object",
        "required": ["type", "title", "status"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "instance": {"type": "string", "format": "uri-reference"},
            "invocation_id": {"type": "string"},
        },
    },
    INVALID: {
        "title": "Invalid",
        "description": "A request that does not fit, with one reason a field.",
        "allOf": [{"$ref": f"{SCHEMA_PREFIX}{PROBLEM}"}],
        "properties": {
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["loc", "msg", "type"],
                    "properties": {
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": {"type": "string"},
                        "type": {"type": "string"},
                    },
                },
            }
        },
    },
    ACCEPTED: {
        "title": "Accepted",
        "description": "An invocation that is stored, and will be run.",
        "type": "object",
        "required": ["id", "function"],
        "properties": {
            "id": {"type": "string"},
            "function": {"type": "string"},
            "status_url": {"type": "string", "format": "uri-reference"},
        },
    },
}
"""The built-in schemas; no Python type has a dot in its name."""


class _QuietJsonSchema(GenerateJsonSchema):
    # A default without a JSON form is left out; a warning would help nobody.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012


class Schemas:
    """The schemas of all uses of types in a document."""

    def __init__(self, uses: Sequence[Use]) -> None:
        described = [use for use in uses if _has_schema(use)]
        schemas, definitions = TypeAdapter.json_schemas(
            described, ref_template=f"{SCHEMA_PREFIX}{{model}}", schema_generator=_QuietJsonSchema
        )
        self._schemas = {key: schema for (key, _), schema in schemas.items()}
        self._definitions: Json = definitions.get("$defs", {})

    def components(self) -> Json:
        """The schemas that others refer to, by name."""
        return {**self._definitions, **BUILTIN_SCHEMAS}

    def get(self, key: str) -> Json:
        """The schema under a key; for a type without one, the schema that allows anything."""
        return self._schemas.get(key, {})

    def text(self, key: str) -> Json:
        """The schema of a value that is written as text, which cannot be null."""
        return _without_null(self.get(key))

    def fields(self, key: str) -> tuple[Mapping[str, Json], Sequence[str]]:
        """The schemas of an object's fields as texts, and the names of the required ones."""
        schema = self.text(key)
        if "$ref" in schema:
            schema = self._definitions[schema["$ref"].removeprefix(SCHEMA_PREFIX)]
        fields = {
            name: _without_null(field) for name, field in schema.get("properties", {}).items()
        }
        return fields, schema.get("required", ())


def build_schema(adapter: TypeAdapter[Any]) -> Json | None:
    """Return the JSON Schema of what an adapter validates, with its definitions; None without."""
    try:
        return adapter.json_schema(mode="validation", schema_generator=_QuietJsonSchema)
    except PydanticInvalidForJsonSchema:
        return None


def schema_reference(name: str) -> Json:
    """A reference to one of the components."""
    return {"$ref": f"{SCHEMA_PREFIX}{name}"}


def _has_schema(use: Use) -> bool:
    _, mode, adapter = use
    try:
        adapter.json_schema(mode=mode, schema_generator=_QuietJsonSchema)
    except PydanticInvalidForJsonSchema:
        return False
    return True


def _without_null(schema: Json) -> Json:
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if not choices:
        return schema
    others = {name: member for name, member in schema.items() if name != "anyOf"}
    if others.get("default", ...) is None:
        del others["default"]
    return {**choices[0], **others} if len(choices) == 1 else {"anyOf": choices, **others}
