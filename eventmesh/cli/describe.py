"""Services in words: for tables and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.retry import Retry
from eventmesh.model.topology import EVENT_SCHEME, EVENTS, QUEUE_SCHEME, Route
from eventmesh.service import Service


def services_table(services: Sequence[Service]) -> Table:
    """All functions with their triggers and limits, a section a service."""
    table = Table("Function", "Triggers", "Limits", title_justify="left")
    for service in services:
        for function in service.specs:
            table.add_row(function.full_name, _triggers(function), ", ".join(_limits(function)))
        table.add_section()
    return table


def service_fields(service: Service) -> dict[str, Any]:
    """A service as plain values; durations are seconds and None is no limit."""
    functions = [_function_fields(function) for function in service.specs]
    return {"service": service.name, "functions": functions}


def _triggers(function: FunctionSpec) -> str:
    return "\n".join(trigger.describe() for trigger in function.triggers) or "by name only"


def _limits(function: FunctionSpec) -> Iterable[str]:
    limits, retry = function.limits, function.retry
    yield "no timeout" if limits.timeout is None else f"{limits.timeout:g} s"
    yield f"{limits.concurrency} at once"
    if limits.reserved_concurrency is not None:
        yield f"{limits.reserved_concurrency} in the mesh"
    yield "1 attempt" if retry.attempts == 1 else f"{retry.attempts} attempts"


def _function_fields(function: FunctionSpec) -> dict[str, Any]:
    limits = function.limits
    return {
        "name": function.full_name,
        "triggers": [
            {"kind": trigger.kind, "description": trigger.describe()}
            for trigger in function.triggers
        ],
        "timeout": limits.timeout,
        "concurrency": limits.concurrency,
        "reserved_concurrency": limits.reserved_concurrency,
        "max_pending": limits.max_pending,
        "max_payload": limits.max_payload,
        "retry": {name: getattr(function.retry, name) for name in Retry.__slots__},
        "on_success": _destination(function.on_success),
        "on_failure": _destination(function.on_failure),
    }


def _destination(route: Route | None) -> str | None:
    """As it is written where it is declared."""
    if route is None:
        return None
    if route.exchange == EVENTS:
        return f"{EVENT_SCHEME}{route.name}"
    return f"{QUEUE_SCHEME}{route.name}" if route.key == route.name else route.name
