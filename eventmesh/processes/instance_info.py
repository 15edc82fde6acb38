"""What a process announces of itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import FunctionSpec, function_info
from eventmesh.host import Host
from eventmesh.http.openapi.document import build_document
from eventmesh.http.routes import function_routes
from eventmesh.model.settings import Settings
from eventmesh.presence import AnnouncedRoute, AnnouncedSources, Instance
from eventmesh.service import Service
from eventmesh.triggers.event import EventTrigger
from eventmesh.triggers.keepers import find_keeper
from eventmesh.triggers.queue import QueueTrigger


def find_sources(function: FunctionSpec) -> AnnouncedSources:
    """Return what leads to a function and stays at the broker after its processes."""
    triggers = function.triggers
    shared = [each for each in triggers if isinstance(each, EventTrigger) and not each.broadcast]
    return AnnouncedSources(
        tuple(dict.fromkeys(pattern for each in shared for pattern in each.patterns)),
        tuple(each.name for each in triggers if isinstance(each, QueueTrigger)),
    )


def build_instance(
    host: Host,
    services: Sequence[Service],
    settings: Settings,
    clock: Clock,
    restarts: int = 0,
) -> Callable[[], Instance]:
    """Return a function that describes the current state of this process.

    `restarts` says how often its worker was started again because it had died.
    """
    routes = function_routes(host.functions)
    instance = Instance(
        host.instance,
        socket.gethostname(),
        os.getpid(),
        clock.now(),
        {service.name: service.version for service in services},
        [function_info(function) for function in host.functions.values()],
        [
            AnnouncedRoute(
                route.method,
                route.path,
                function.full_name,
                function.limits.timeout,
                None if function.cors is None else function.cors.describe(),
            )
            for function, route in routes
        ],
        openapi=build_document(routes, api=False) if routes and settings.docs is not False else {},
        sources={name: find_sources(function) for name, function in host.functions.items()},
        revision=settings.revision,
        kept_by=find_keeper(host.functions.values()),
        restarts=restarts,
    )

    def describe() -> Instance:
        counts = host.statistics()
        running = {name: counted["running"] for name, counted in counts.items()}
        waiting = {name: counted["waiting"] for name, counted in counts.items()}
        return replace(
            instance,
            running=running,
            waiting={name: count for name, count in waiting.items() if count},
            work=host.metrics.work(),
        )

    return describe
