"""The processes of the mesh, in the control API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.spec import SourceContext
from eventmesh.http.api.executions import ApiRoute
from eventmesh.http.protocol import INSTANCES
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import PathValues
from eventmesh.presence.drain import InstanceAccess, MeshInstances


class InstancesApi:
    """Answers requests about processes."""

    def __init__(self, context: SourceContext) -> None:
        self._instances: InstanceAccess = MeshInstances(
            context.broker, context.clock, gateways_of(context.settings)
        )

    def routes(self) -> Sequence[ApiRoute]:
        """The routes, without what guards them."""
        path = f"{INSTANCES}/{{instance}}/drain"
        return (("POST", path, "manage", "drain the process", self._drain),)

    async def _drain(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        return json_response(202, asdict(await self._instances.drain(path["instance"])))
