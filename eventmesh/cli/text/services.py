"""Services as tables for people and as values for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from eventmesh.engine.spec import FunctionSpec, function_info
from eventmesh.service import Service


def services_table(services: Sequence[Service]) -> Table:
    """Build a table of all functions with their triggers and limits, a section a service."""
    table = Table("Function", "Triggers", "Limits", title_justify="left")
    for service in services:
        for function in service.specs:
            table.add_row(function.full_name, _triggers(function), ", ".join(_limits(function)))
        table.add_section()
    return table


def service_fields(service: Service) -> dict[str, Any]:
    """Return a service as plain values; each function is a `function_info`."""
    functions = [function_info(function) for function in service.specs]
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
