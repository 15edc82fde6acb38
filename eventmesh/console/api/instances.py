"""Processes at the console: one is told to drain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from eventmesh.console.api.gate import Asked
from eventmesh.console.api.timers import Route
from eventmesh.console.sources import Source
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.presence.drain import MeshInstances


class InstancesApi:
    """Answers requests about processes."""

    def __init__(self, source: Source) -> None:
        self._instances = MeshInstances(source.broker, source.clock, source.gateways)

    def routes(self) -> Sequence[Route]:
        """The routes, without what guards them."""
        path = "instances/{instance}/drain"
        return (("POST", path, "manage", "drain the process", self._drain),)

    async def _drain(self, asked: Asked) -> BytesResponse:
        return json_response(202, asdict(await self._instances.drain(asked.path["instance"])))
