"""What became of asynchronous invocations, over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast
from urllib.parse import quote

from eventmesh.client.http import HttpClient, HttpResponse
from eventmesh.engine.mesh_results import not_stored
from eventmesh.engine.results import StoredResult, result_from_members
from eventmesh.http.protocol import CONTROL
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.ids import check_id
from eventmesh.model.topology import check_function

_NOT_FOUND: Final = 404
_WITHOUT_STORE: Final = ("unknown", "dead-lettered")
"""The states that the control API tells where only the broker knows anything."""


class HttpResults:
    """The results, through the control API. See `eventmesh.engine.mesh_results.ResultAccess`."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def find(self, id: str, function: str = "") -> Sequence[StoredResult]:
        return await self._request("GET", id, function)

    async def cancel(self, id: str, function: str = "") -> Sequence[StoredResult]:
        return await self._request("DELETE", id, function)

    async def _request(self, method: str, id: str, function: str) -> Sequence[StoredResult]:
        of_function = f"/functions/{quote(check_function(function), safe='')}" if function else ""
        path = f"{CONTROL}{of_function}/invocations/{quote(check_id(id), safe='')}"
        try:
            response = await self._client.request(method, path)
        except TimeoutError:
            raise BrokerUnavailable(f"{self._client.address} did not answer in time") from None
        if response.status == _NOT_FOUND and "error" not in response.members():
            return []
        if response.status != 200:  # noqa: PLR2004
            raise self._client.error_from_response(response)
        if response.members().get("state") in _WITHOUT_STORE:
            raise not_stored(function)
        return self._read(response)

    def _read(self, response: HttpResponse) -> Sequence[StoredResult]:
        members = response.members()
        listed = cast(Sequence[Any], members.get("invocations", [members]))
        try:
            return [result_from_members(each) for each in listed]
        except (LookupError, TypeError, ValueError):
            raise BrokerUnavailable(
                f"{self._client.address} gave an answer that cannot be read: it has another "
                "version of eventmesh"
            ) from None
