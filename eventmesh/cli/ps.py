"""Who is there, in words: for tables and for programs."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table

from eventmesh.abc import Broker
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, open_broker
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import PREFIX, Route
from eventmesh.presence import Instance, Observer, observing

CONNECT_SECONDS: Final = 15.0
"""How long a command tries to reach the broker."""

NOBODY: Final = Route("", f"{PREFIX}.nobody", mandatory=False, name="nobody")

_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"))


@asynccontextmanager
async def mesh_at(url: str, name: str) -> AsyncGenerator[tuple[Broker, Observer]]:
    """The broker at a URL, and who is there; it takes a moment until all have answered.

    `name` is that of the command. Raises SettingsError for a URL that leads to no mesh of several
    processes, and BrokerUnavailable.
    """
    check_shared(url)
    async with (
        open_broker(url, f"eventmesh {name}", connect_timeout=CONNECT_SECONDS) as broker,
        observing(broker, SystemClock(), lambda _: None) as observer,
    ):
        yield broker, observer


async def check_taking(broker: Broker) -> None:
    """Raises BrokerUnavailable while the broker takes no messages: nobody can answer then.

    RabbitMQ tells a connection of an alarm when that has published something: here, the question
    who is there. So it knows a moment later.
    """
    await broker.publish(NOBODY, Message(b"", new_id(), SystemClock().now()))


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
