"""What the services of a mesh serve, as a gateway sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from eventmesh.http.route import HttpRoute
from eventmesh.model.access.cors import Cors
from eventmesh.model.value import value


@value
class RemoteRoute:
    """A route, and the function of another process that answers it.

    `timeout` is that function's, in seconds, None for none. `cors` is its service's: the gateway
    itself answers the preflight requests of browsers.
    """

    route: HttpRoute
    function: str
    timeout: float | None
    cors: Cors | None = None

    @property
    def service(self) -> str:
        """The name of the function's service."""
        return self.function.partition(".")[0]


@value
class Catalogue:
    """What a mesh serves.

    Of two routes with one path and method the first counts. `functions` are by their names, each as
    `function_info`; `documents` are the OpenAPI documents of services, the first of which counts,
    too.
    """

    routes: Sequence[RemoteRoute]
    functions: Mapping[str, Mapping[str, Any]]
    documents: Sequence[Mapping[str, Any]]

    @property
    def services(self) -> Collection[str]:
        """The names of the services that have functions here."""
        return {name.partition(".")[0] for name in self.functions}
