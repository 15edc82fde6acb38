"""The executions of durable functions, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from eventmesh.client.http import HttpClient
from eventmesh.durable.event import Event
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.engine.executions.access import ALL, FIRST, ExecutionReport
from eventmesh.engine.executions.messages import Answer, read_answer, read_report
from eventmesh.http.protocol import EXECUTIONS
from eventmesh.model.errors import BrokerUnavailable, PayloadInvalid
from eventmesh.model.ids import check_id
from eventmesh.model.message import JSON


class HttpExecutions:
    """The executions, through the control API. See `ExecutionAccess`."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def list(
        self, which: ExecutionFilter = ALL, page: Page = FIRST
    ) -> tuple[Sequence[ExecutionReport], str]:
        query: dict[str, Any] = {
            "function": which.function,
            "name": which.name,
            "status": ",".join(which.statuses),
            "started_after": which.started_after,
            "started_before": which.started_before,
            "oldest_first": "" if which.newest_first else "true",
            "limit": page.size,
            "after": page.after,
        }
        answer = self._answer(await self._request("GET", "", query))
        return answer.executions, answer.after

    async def show(self, id: str, function: str = "") -> ExecutionReport:
        return self._report(await self._request("GET", _path(id), {"function": function}))

    async def history(
        self, id: str, page: Page = FIRST, *, function: str = "", newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        query = {
            "function": function,
            "limit": page.size,
            "after": page.after,
            "newest_first": "true" if newest_first else "",
        }
        answer = self._answer(await self._request("GET", f"{_path(id)}/history", query))
        return answer.events, answer.after

    async def stop(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        return await self._act("stop", id, function, {"reason": reason})

    async def pause(
        self, id: str, reason: str = "", *, hold_timeout: bool = False, function: str = ""
    ) -> ExecutionReport:
        body = {"reason": reason, "hold_timeout": hold_timeout}
        return await self._act("pause", id, function, body)

    async def resume(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        return await self._act("resume", id, function, {"reason": reason})

    async def _act(
        self, verb: str, id: str, function: str, body: Mapping[str, Any]
    ) -> ExecutionReport:
        path = f"{_path(id)}/{verb}"
        return self._report(await self._request("POST", path, {"function": function}, body))

    async def _request(
        self, method: str, path: str, query: Mapping[str, Any], body: object = None
    ) -> bytes:
        given = {name: text for name, text in query.items() if text not in (None, "")}
        address = f"{EXECUTIONS}{path}?{urlencode(given)}"
        if body is None:
            return (await self._client.request_now(method, address)).body
        headers = {"Content-Type": JSON}
        response = await self._client.request_now(
            method, address, body=orjson.dumps(body), headers=headers
        )
        return response.body

    def _answer(self, body: bytes) -> Answer:
        try:
            return read_answer(body)
        except PayloadInvalid as error:
            raise BrokerUnavailable(f"{self._client.address}: {error}") from None

    def _report(self, body: bytes) -> ExecutionReport:
        try:
            return read_report(body)
        except PayloadInvalid as error:
            raise BrokerUnavailable(f"{self._client.address}: {error}") from None


def _path(id: str) -> str:
    return f"/{quote(check_id(id), safe='')}"
