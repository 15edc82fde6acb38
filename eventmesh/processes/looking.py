"""What a process tells those who look into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from eventmesh.engine.spec import FunctionSpec
from eventmesh.host import Host
from eventmesh.http.openapi.schemas import build_schema
from eventmesh.model.runs import Described, Question, Sight
from eventmesh.targets.source_location import shorten_path


def build_look(host: Host) -> Callable[[Question], Sight]:
    """Return a function that answers questions about this process."""

    def look(question: Question) -> Sight:
        sight = host.metrics.runs.look(host.instance, question)
        function = host.functions.get(question.describe)
        if function is None:
            return sight
        return replace(sight, described=describe_function(function))

    return look


def describe_function(function: FunctionSpec) -> Described:
    """Describe a function as its code declares it."""
    schema = payload_schema(function)
    file, line = function.code_place
    return Described(
        function.full_name,
        "" if schema is None else orjson.dumps(schema).decode(),
        f"{shorten_path(file)}:{line}" if file else "",
        function.description,
    )


def payload_schema(function: FunctionSpec) -> dict[str, Any] | None:
    """Return the JSON schema of what a function takes if it is invoked by name; None without."""
    payload = function.schema.payload
    if payload is None:
        return {"type": "object", "properties": {}}
    return None if payload.raw else build_schema(payload.adapter)
