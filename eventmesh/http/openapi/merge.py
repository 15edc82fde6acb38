"""One OpenAPI document of many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

from eventmesh.http.openapi.document import VERSION
from eventmesh.http.openapi.schemas import BUILTIN_SCHEMAS, SCHEMA_PREFIX, Json

TITLE: Final = "eventmesh"

_UNREADABLE: Final = (KeyError, TypeError, AttributeError, RecursionError)
"""What reading a document that is none may raise."""

_log: Final = logging.getLogger(__name__)

_Value: TypeAlias = dict[str, Any] | list[Any] | str | float | bool | None


def merge_documents(documents: Sequence[Mapping[str, Any]]) -> Json:
    """Merge the paths of all documents; of two operations of one path and method, the first counts.

    Where two documents have different schemas of one name, those of the later one are prefixed with
    the name of its service.
    """
    paths: dict[str, Json] = {}
    schemas: Json = dict(BUILTIN_SCHEMAS)
    # Equal under one name: see `security`.
    security: Json = {}
    for document in documents:
        try:
            new_schemas, new_paths = _prepare(document, schemas)
            security = {**document["components"].get("securitySchemes", {}), **security}
        except _UNREADABLE as error:
            # Other processes wrote them, and one must not take the documentation of all away.
            _log.warning("an OpenAPI document of a service is left out: %r", error)
            continue
        schemas |= new_schemas
        for path, operations in new_paths.items():
            paths[path] = operations | paths.get(path, {})
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas, **({"securitySchemes": security} if security else {})},
    }


def _prepare(document: Mapping[str, Any], taken: Json) -> tuple[Json, dict[str, Json]]:
    """Return the schemas and the operations of a document, with names that are not `taken`."""
    own = _own_schemas(document)
    renamed = _choose_names(document, own, taken)
    schemas = {renamed[name]: _rename_references(schema, renamed) for name, schema in own.items()}
    paths = {
        path: {
            method: _rename_references(operation, renamed)
            for method, operation in operations.items()
        }
        for path, operations in document["paths"].items()
    }
    return schemas, paths


def _own_schemas(document: Mapping[str, Any]) -> Json:
    schemas: Json = document["components"]["schemas"]
    return {name: schema for name, schema in schemas.items() if name not in BUILTIN_SCHEMAS}


def _choose_names(document: Mapping[str, Any], own: Json, taken: Json) -> Mapping[str, str]:
    """Choose the names of a document's schemas in the merged one, by their names in the document.

    All are renamed or none: renaming a schema changes those that refer to it.
    """
    for names in _names(own, document["info"]["title"]):
        named = _rename_schemas(own, names)
        if all(taken.get(name, schema) == schema for name, schema in named.items()):
            return names
    raise AssertionError("there is always another name")


def _names(own: Json, title: str) -> Iterator[Mapping[str, str]]:
    yield {name: name for name in own}
    for number in count(1):
        prefix = title if number == 1 else f"{title}-{number}"
        yield {name: f"{prefix}.{name}" for name in own}


def _rename_schemas(schemas: Json, names: Mapping[str, str]) -> Json:
    return {names[name]: _rename_references(schema, names) for name, schema in schemas.items()}


def _rename_references(value: _Value, renamed: Mapping[str, str]) -> Any:
    """Copy the value, with the new names where it refers to schemas."""
    match value:
        case dict():
            return {key: _rename_references(member, renamed) for key, member in value.items()}
        case list():
            return [_rename_references(item, renamed) for item in value]
        case str() if value.startswith(SCHEMA_PREFIX):
            name = value.removeprefix(SCHEMA_PREFIX)
            return SCHEMA_PREFIX + renamed.get(name, name)
        case _:
            return value
