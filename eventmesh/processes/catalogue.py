"""The catalogue of a gateway, from what the processes of a mesh announce."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

from eventmesh.gateway.catalogue import Catalogue, RemoteRoute
from eventmesh.http.route import HttpRoute, Method
from eventmesh.model.access.cors import read_cors
from eventmesh.model.errors import DeclarationError
from eventmesh.presence import AnnouncedRoute, Instance

_Place: TypeAlias = tuple[str, str]

MAX_WARNINGS: Final = 100

_PARAMETER: Final = re.compile(r"\{[^}:]*")

_log: Final = logging.getLogger(__name__)


class MeshCatalogue:
    """Merges what the processes of a mesh serve.

    Of two functions that announce one route, the one that had it first keeps it until no process
    announces it any more: none takes the requests of another one by starting later. Until `settle`
    it is the one whose process started first: those that were there before answer in any order.
    """

    def __init__(self) -> None:
        self._owners: dict[_Place, str] = {}
        self._warned: set[tuple[_Place, str]] = set()
        self._settled = False

    def settle(self) -> None:
        """Have all routes kept by those that have them now."""
        self._settled = True

    def build(self, instances: Mapping[str, Instance]) -> Catalogue:
        """Return the catalogue of these processes, by their ids.

        Where replicas of one function differ, the one that started last counts.
        """
        newest_first = sorted(instances.values(), key=lambda each: each.started, reverse=True)
        self._owners = self._find_owners(reversed(newest_first))
        return Catalogue(
            list(self._routes(newest_first)),
            {
                function["name"]: function
                for instance in reversed(newest_first)
                for function in instance.functions
            },
            list(_documents(newest_first)),
        )

    def _find_owners(self, instances: Iterable[Instance]) -> dict[_Place, str]:
        announced = [
            (_place(endpoint), endpoint.function)
            for instance in instances
            for endpoint in instance.endpoints
        ]
        still = set(announced)
        kept = self._owners if self._settled else {}
        owners = {place: owner for place, owner in kept.items() if (place, owner) in still}
        for place, function in announced:
            owners.setdefault(place, function)
        return owners

    def _routes(self, instances: Sequence[Instance]) -> Iterator[RemoteRoute]:
        seen: set[tuple[str, str]] = set()
        for instance in instances:
            for endpoint in instance.endpoints:
                if self._is_owner(endpoint) and (endpoint.method, endpoint.path) not in seen:
                    seen.add((endpoint.method, endpoint.path))
                    yield from _route(endpoint)

    def _is_owner(self, endpoint: AnnouncedRoute) -> bool:
        place = _place(endpoint)
        owner, refused = self._owners[place], (place, endpoint.function)
        if owner == endpoint.function:
            return True
        if self._settled and refused not in self._warned and len(self._warned) < MAX_WARNINGS:
            self._warned.add(refused)
            _log.warning(
                "%s announces %s %s, which %s has: it gets no requests until %s is gone; give one "
                "of them another path",
                endpoint.function,
                endpoint.method,
                endpoint.path,
                owner,
                owner,
            )
        return False


def _place(endpoint: AnnouncedRoute) -> _Place:
    """Return the method and the path, whatever its parameters are called."""
    return endpoint.method, _PARAMETER.sub("{", endpoint.path)


def _route(endpoint: AnnouncedRoute) -> Iterator[RemoteRoute]:
    try:
        route = HttpRoute(cast(Method, endpoint.method), endpoint.path)
        cors = None if endpoint.cors is None else read_cors(endpoint.cors)
    except DeclarationError as error:
        _log.warning("%s announces an invalid route: %s", endpoint.function, error)
        return
    yield RemoteRoute(route, endpoint.function, endpoint.timeout, cors)


def _documents(instances: Sequence[Instance]) -> Iterator[Mapping[str, Any]]:
    """Yield each document once: replicas have the same."""
    distinct: list[Mapping[str, Any]] = []
    for instance in instances:
        if instance.openapi and instance.openapi not in distinct:
            distinct.append(instance.openapi)
            yield instance.openapi
