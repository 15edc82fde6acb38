"""The processes of a mesh, over HTTP."""

from __future__ import annotations

from urllib.parse import quote

from eventmesh.client.http import HttpClient
from eventmesh.http.protocol import INSTANCES
from eventmesh.model.errors import BrokerUnavailable, PayloadInvalid
from eventmesh.presence.drain import Draining, read_draining


class HttpInstances:
    """The processes, through the control API. See `InstanceAccess`."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def drain(self, instance: str) -> Draining:
        id = instance.rpartition("/")[2]
        path = f"{INSTANCES}/{quote(id, safe='')}/drain"
        try:
            return read_draining((await self._client.request_now("POST", path)).body)
        except PayloadInvalid as error:
            raise BrokerUnavailable(f"{self._client.address}: {error}") from None
