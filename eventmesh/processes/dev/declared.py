"""What code declares, and what has changed since the code before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias, cast

import orjson

from eventmesh.engine.spec import FunctionSpec, function_info
from eventmesh.http.openapi.schemas import build_schema
from eventmesh.processes.looking import payload_schema
from eventmesh.service import Service

Declared: TypeAlias = dict[str, dict[str, Any]]
"""`services` and `functions` by their names, as plain JSON."""

MAX_CHANGED: Final = 100
"""Functions that are told of one save."""

MAX_CHANGES: Final = 20
"""Changes that are told of one function."""

MAX_TEXT: Final = 200
"""Characters of a value that are told."""

_ABSENT: Final = object()


def declare(services: Sequence[Service], functions: Iterable[FunctionSpec]) -> Declared:
    """Return what services and their functions declare. What their handlers do is not in it."""
    declared = {
        "services": {service.name: {"version": service.version} for service in services},
        "functions": {each.full_name: _members(each) for each in functions},
    }
    # What was read from a file is compared with it.
    plain: Declared = orjson.loads(orjson.dumps(declared, default=str))
    return plain


def _members(function: FunctionSpec) -> dict[str, Any]:
    info = function_info(function)
    named = ("name", "service", "triggers", "limits")
    return {
        **{name: member for name, member in info.items() if name not in named},
        **info["limits"],
        "triggers": {each["description"]: each["kind"] for each in info["triggers"]},
        "description": function.description,
        "payload": payload_schema(function),
        "result": build_schema(function.schema.item_adapter),
    }


def compare(before: Declared, after: Declared) -> dict[str, Any]:
    """Return the services and functions that were added, removed or changed, and how.

    At most `MAX_CHANGED` functions are told, and how many `more` there are.
    """
    functions = list(_compare_named(before["functions"], after["functions"]))
    return {
        "services": list(_compare_named(before["services"], after["services"]))[:MAX_CHANGED],
        "functions": functions[:MAX_CHANGED],
        "more": max(len(functions) - MAX_CHANGED, 0),
    }


def _compare_named(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield {"name": name, "kind": "added", "changes": [], "more": 0}
        elif name not in after:
            yield {"name": name, "kind": "removed", "changes": [], "more": 0}
        elif before[name] != after[name]:
            found = _find_changes("", before[name], after[name])
            changes = list(islice(found, MAX_CHANGES))
            more = sum(1 for _ in found)
            yield {"name": name, "kind": "changed", "changes": changes, "more": more}


def _find_changes(path: str, before: Any, after: Any) -> Iterator[dict[str, Any]]:
    """Yield each member that differs, with the way to it: objects are compared by their members."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        former, now = cast(dict[str, Any], before), cast(dict[str, Any], after)
        for name in dict.fromkeys([*former, *now]):
            way = f"{path}.{name}" if path else name
            yield from _find_changes(way, former.get(name, _ABSENT), now.get(name, _ABSENT))
        return
    yield {"what": _cut(path), "before": _text(before), "after": _text(after)}


def _text(member: Any) -> str | None:
    """Return a value as JSON; None for one that is not there."""
    return None if member is _ABSENT else _cut(orjson.dumps(member).decode())


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
