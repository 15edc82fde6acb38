"""One OpenAPI document of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

from eventmesh.http.openapi.document import VERSION
from eventmesh.http.openapi.schemas import OWN, PREFIX, Json

TITLE: Final = "eventmesh"

_Value: TypeAlias = dict[str, Any] | list[Any] | str | float | bool | None


def merge_documents(documents: Sequence[Mapping[str, Any]]) -> Json:
    """All paths of all documents; of two operations at one place, the first counts.

    Where two documents have different schemas of one name, those of the later one get the name of
    its service before them.
    """
    paths: dict[str, Json] = {}
    schemas: Json = dict(OWN)
    for document in documents:
        own = _of_its_own(document)
        renamed = _renamed(document, own, schemas)
        schemas |= {renamed[name]: _referring(schema, renamed) for name, schema in own.items()}
        for path, operations in document["paths"].items():
            there = paths.setdefault(path, {})
            for method, operation in operations.items():
                there.setdefault(method, _referring(operation, renamed))
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _of_its_own(document: Mapping[str, Any]) -> Json:
    schemas: Json = document["components"]["schemas"]
    return {name: schema for name, schema in schemas.items() if name not in OWN}


def _renamed(document: Mapping[str, Any], own: Json, taken: Json) -> Mapping[str, str]:
    """The names of a document's schemas, by those they have in it.

    All are renamed or none: a schema that refers to another one is no longer the same when that
    one is not.
    """
    for names in _names(own, document["info"]["title"]):
        named = {names[name]: _referring(schema, names) for name, schema in own.items()}
        if all(taken.get(name, schema) == schema for name, schema in named.items()):
            return names
    raise AssertionError("there is always another name")


def _names(own: Json, title: str) -> Iterator[Mapping[str, str]]:
    yield {name: name for name in own}
    for number in count(1):
        prefix = title if number == 1 else f"{title}-{number}"
        yield {name: f"{prefix}.{name}" for name in own}


def _referring(value: _Value, renamed: Mapping[str, str]) -> Any:
    """The value, with the new names where it refers to schemas."""
    match value:
        case dict():
            return {key: _referring(one, renamed) for key, one in value.items()}
        case list():
            return [_referring(one, renamed) for one in value]
        case str() if value.startswith(PREFIX):
            name = value.removeprefix(PREFIX)
            return PREFIX + renamed.get(name, name)
        case _:
            return value
