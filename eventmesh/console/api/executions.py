"""Durable executions at the console: of all services of the mesh, whichever process has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from eventmesh.console.api.gate import Asked
from eventmesh.console.api.timers import Route
from eventmesh.console.sources import Source
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.durable.shapes import event_fields
from eventmesh.engine.caller import BrokerTransport
from eventmesh.engine.executions.access import ExecutionReport
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.engine.executions.messages import MAX_REASON, Answer, read_list_request
from eventmesh.http.api.executions import read_completion
from eventmesh.http.server.request import parse_query
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.model.errors import PayloadInvalid, Problem

MAX_EVENTS: Final = 1_000
"""Events of a history that are shown: the first ones."""

_PORTION: Final = 100


class ExecutionsApi:
    """Answers requests about executions and callbacks."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._transport = BrokerTransport(source.broker)
        self._executions = MeshExecutions(source.broker, source.clock, self._list_names)

    def routes(self) -> Sequence[Route]:
        """The routes, without what guards them."""
        one = "executions/{execution}"
        return (
            ("GET", "executions", "read", "list executions", self._list),
            ("GET", one, "read", "show the execution", self._show),
            ("GET", f"{one}/history", "read", "show the history of the execution", self._history),
            ("POST", f"{one}/stop", "manage", "stop the execution", self._stop),
            ("POST", f"{one}/pause", "manage", "pause the execution", self._pause),
            ("POST", f"{one}/resume", "manage", "resume the execution", self._resume),
            # The id of a callback is a secret, so it is in the body, and in no log.
            ("POST", "callbacks", "invoke", "complete a callback", self._complete),
        )

    async def _list(self, asked: Asked) -> BytesResponse:
        query = _query(asked)
        status = query.get("status", "").upper()
        fields = {
            "verb": "list",
            "function": query.get("function", ""),
            "statuses": [status] if status else [],
            "size": _PORTION,
            "after": query.get("after", ""),
        }
        try:
            request = read_list_request(fields)
        except PayloadInvalid as error:
            raise Problem(422, str(error)) from None
        which: ExecutionFilter = request.which
        found, after = await self._executions.list(which, request.page)
        return json_response(200, {"executions": _members(found), "after": after})

    async def _show(self, asked: Asked) -> BytesResponse:
        return _respond(await self._executions.show(*_which(asked)))

    async def _history(self, asked: Asked) -> BytesResponse:
        id, function = _which(asked)
        events: list[dict[str, Any]] = []
        after = ""
        while len(events) < MAX_EVENTS:
            more, after = await self._executions.history(
                id, Page(_PORTION, after), function=function
            )
            events += [event_fields(each) for each in more]
            if not after:
                break
        return json_response(200, {"events": events, "more": bool(after)})

    async def _stop(self, asked: Asked) -> BytesResponse:
        id, function = _which(asked)
        return _respond(await self._executions.stop(id, _reason(asked), function=function))

    async def _pause(self, asked: Asked) -> BytesResponse:
        id, function = _which(asked)
        return _respond(await self._executions.pause(id, _reason(asked), function=function))

    async def _resume(self, asked: Asked) -> BytesResponse:
        id, function = _which(asked)
        return _respond(await self._executions.resume(id, _reason(asked), function=function))

    async def _complete(self, asked: Asked) -> BytesResponse:
        """Complete a callback; nothing tells whether it was open."""
        function, message = read_completion(
            dict(asked.body), self._source.clock.now(), asked.principal
        )
        await self._transport.send(function, message, 0.0)
        return json_response(202, {"id": message.id})

    async def _list_names(self) -> Sequence[str]:
        """Return durable functions: no other service is asked. Older processes do not tell."""
        return [
            function["name"]
            for instance in self._source.instances().values()
            for function in instance.functions
            if not instance.stand_in and function.get("durable", True)
        ]


def _query(asked: Asked) -> Mapping[str, str]:
    return {name: texts[-1] for name, texts in parse_query(asked.request.target).items()}


def _which(asked: Asked) -> tuple[str, str]:
    """Return the id of the execution, and its function if that is known: "" if not."""
    return asked.path["execution"], _query(asked).get("function", "")


def _reason(asked: Asked) -> str:
    reason = asked.text("reason")
    if len(reason) > MAX_REASON:
        raise Problem(422, f"the reason has more than {MAX_REASON} characters")
    return reason


def _members(found: Sequence[ExecutionReport]) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = Answer(executions=list(found)).model_dump(mode="json")[
        "executions"
    ]
    return members


def _respond(report: ExecutionReport) -> BytesResponse:
    return json_response(200, _members([report])[0])
