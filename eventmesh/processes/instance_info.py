"""What a process announces of itself."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import function_info
from eventmesh.host import Host
from eventmesh.http.openapi.document import build_document
from eventmesh.http.routes import function_routes
from eventmesh.model.settings import Settings
from eventmesh.presence import AnnouncedRoute, Instance
from eventmesh.service import Service


def build_instance(
    host: Host, services: Sequence[Service], settings: Settings, clock: Clock
) -> Callable[[], Instance]:
    """Return a function that describes the current state of this process."""
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
    )

    def describe() -> Instance:
        running = {name: counted["running"] for name, counted in host.statistics().items()}
        return replace(instance, running=running)

    return describe
