"""The catalogue of a gateway, from what the processes of a mesh announce."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, cast

from eventmesh.gateway.gateway import Catalogue, RemoteRoute
from eventmesh.http.route import HttpRoute, Method
from eventmesh.model.access.cors import read_cors
from eventmesh.model.errors import DeclarationError
from eventmesh.presence import AnnouncedRoute, Instance

_log: Final = logging.getLogger(__name__)


def build_catalogue(instances: Mapping[str, Instance]) -> Catalogue:
    """Merge what these processes serve; if they differ, the one started last wins."""
    newest_first = sorted(instances.values(), key=lambda instance: instance.started, reverse=True)
    return Catalogue(
        list(_routes(newest_first)),
        {
            function["name"]: function
            for instance in reversed(newest_first)
            for function in instance.functions
        },
        list(_documents(newest_first)),
    )


def _routes(instances: Sequence[Instance]) -> Iterator[RemoteRoute]:
    seen: set[tuple[str, str, str]] = set()
    for instance in instances:
        for endpoint in instance.endpoints:
            key = (endpoint.method, endpoint.path, endpoint.function)
            if key not in seen:
                seen.add(key)
                yield from _route(endpoint)


def _route(endpoint: AnnouncedRoute) -> Iterator[RemoteRoute]:
    try:
        route = HttpRoute(cast(Method, endpoint.method), endpoint.path)
        cors = None if endpoint.cors is None else read_cors(endpoint.cors)
    except DeclarationError as error:
        _log.warning("%s announces an invalid route: %s", endpoint.function, error)
    else:
        yield RemoteRoute(route, endpoint.function, endpoint.timeout, cors)


def _documents(instances: Sequence[Instance]) -> Iterator[Mapping[str, Any]]:
    """Yield each document once: replicas have the same."""
    distinct: list[Mapping[str, Any]] = []
    for instance in instances:
        if instance.openapi and instance.openapi not in distinct:
            distinct.append(instance.openapi)
            yield instance.openapi
