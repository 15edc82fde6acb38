"""How a process answers what gateways relay to its functions, and ask of its store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from eventmesh.deliveries.rpc import RequestHandler, RequestHandlerFactory
from eventmesh.engine.executions.messages import EXECUTIONS_REQUEST
from eventmesh.engine.mesh_results import answer_requests
from eventmesh.engine.results import RESULTS_REQUEST
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.protocol import RELAYED_REQUEST


def _answer_routes(function: FunctionSpec, context: SourceContext) -> RequestHandler:
    # Only a process that a gateway speaks to pays for loading an HTTP server.
    from eventmesh.gateway.relay import RemoteRoutes  # noqa: PLC0415

    return RemoteRoutes(function, context).answer


def _answer_for_executions(function: FunctionSpec, context: SourceContext) -> RequestHandler:
    # Only a process that is asked for them pays for loading what durable functions need.
    from eventmesh.executions.control import answer_requests as answer  # noqa: PLC0415

    return answer(function, context)


REQUEST_TYPES: Final[Mapping[str, RequestHandlerFactory]] = {
    RELAYED_REQUEST: _answer_routes,
    RESULTS_REQUEST: answer_requests,
    EXECUTIONS_REQUEST: _answer_for_executions,
}
"""For `consume_rpc`: by the type of a message, what handles it instead of the dispatcher."""
