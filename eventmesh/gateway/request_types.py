"""How a process answers the requests that gateways relay to its functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventmesh.deliveries.rpc import RequestHandler, RequestHandlerFactory
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.protocol import RELAYED_REQUEST


def _answer_routes(function: FunctionSpec, context: SourceContext) -> RequestHandler:
    # Only a process that a gateway speaks to pays for loading an HTTP server.
    from eventmesh.gateway.relay import RemoteRoutes  # noqa: PLC0415

    return RemoteRoutes(function, context).answer


REQUEST_TYPES: Final[Mapping[str, RequestHandlerFactory]] = {RELAYED_REQUEST: _answer_routes}
"""For `consume_rpc`: by the type of a message, what handles it instead of the dispatcher."""
