"""Who is there, in words: for tables and for programs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table

from eventmesh.presence import Instance

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


def instance_fields(instance: Instance) -> dict[str, Any]:
    """An instance as plain values; `started` is in seconds since the epoch."""
    fields = asdict(instance)
    del fields["openapi"], fields["endpoints"]
    return fields


def presence_tables(instances: Iterable[Instance]) -> RenderableType:
    """The processes, and what they serve together."""
    ordered = sorted(instances, key=lambda one: (sorted(one.services), one.started))
    if not ordered:
        return "Nobody is there."
    return Group(_instances_table(ordered), _functions_table(ordered))


def _instances_table(instances: Sequence[Instance]) -> Table:
    table = Table("Instance", "Host", "Process", "Services", "Up", "In flight")
    now = time.time()
    for one in instances:
        services = ", ".join(f"{name} {version}".rstrip() for name, version in one.services.items())
        table.add_row(
            one.id,
            one.host,
            str(one.pid),
            services or "gateway",
            _duration(now - one.started),
            str(sum(one.running.values())),
        )
    return table


def _functions_table(instances: Sequence[Instance]) -> Table:
    serving: Mapping[str, list[Instance]] = defaultdict(list)
    triggers: dict[str, str] = {}
    for one in instances:
        for function in one.functions:
            name = function["name"]
            serving[name].append(one)
            triggers[name] = "\n".join(trigger["description"] for trigger in function["triggers"])
    table = Table("Function", "Triggers", "Versions", "Instances", "In flight")
    for name in sorted(serving):
        service = name.partition(".")[0]
        versions = {one.services[service] for one in serving[name]}
        table.add_row(
            name,
            triggers[name] or "by name only",
            ", ".join(sorted(versions)),
            str(len(serving[name])),
            str(sum(one.running.get(name, 0) for one in serving[name])),
        )
    return table


def _duration(seconds: float) -> str:
    """In its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds // size:.0f}{unit}"
    return f"{max(seconds, 0):.0f}s"
