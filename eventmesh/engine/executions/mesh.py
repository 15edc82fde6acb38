"""Asks the services of a mesh about their executions."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Sequence
from typing import Any, Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.durable.event import Event
from eventmesh.durable.keeper import ExecutionFilter, Page, list_marker
from eventmesh.engine.codecs.envelope import result_from, to_fault
from eventmesh.engine.executions.access import ALL, FIRST, ExecutionReport, not_found
from eventmesh.engine.executions.messages import (
    EXECUTIONS_REQUEST,
    Answer,
    Request,
    Verb,
    read_answer,
)
from eventmesh.engine.upkeep.dead_letters import ListFunctions
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.ids import check_id, new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import check_function, to_rpc

ASK_SECONDS: Final = 10.0
"""How long a service may take to answer."""

MAX_ASKED: Final = 20
"""Services that are asked at the same time."""


class MeshExecutions:
    """The executions of a mesh, over its broker. See `ExecutionAccess`."""

    def __init__(self, broker: Broker, clock: Clock, functions: ListFunctions) -> None:
        self._broker = broker
        self._clock = clock
        self._functions = functions

    async def list(
        self, which: ExecutionFilter = ALL, page: Page = FIRST
    ) -> tuple[Sequence[ExecutionReport], str]:
        asked = Request(
            verb="list",
            function=which.function,
            name=which.name,
            statuses=which.statuses,
            started_after=which.started_after,
            started_before=which.started_before,
            newest_first=which.newest_first,
            size=page.size,
            after=page.after,
        )
        if which.function:
            answer = await self._ask(check_function(which.function), asked)
            return answer.executions, answer.after
        answers = [each for each in await self._ask_all(asked) if each.executions]
        merged = heapq.merge(
            *(each.executions for each in answers),
            key=lambda told: (told.started, told.id),
            reverse=which.newest_first,
        )
        found = list(merged)[: page.size]
        if len(found) < page.size and not any(each.after for each in answers):
            return found, ""
        # The list goes on from there, whichever service has the next one.
        return found, list_marker(found[-1].started, found[-1].id) if found else ""

    async def show(self, id: str, function: str = "") -> ExecutionReport:
        return await self._act("show", id, function)

    async def history(
        self, id: str, page: Page = FIRST, *, function: str = "", newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        asked = Request(
            verb="history",
            id=check_id(id),
            size=page.size,
            after=page.after,
            newest_first=newest_first,
        )
        answer = await self._find(asked, function)
        return answer.events, answer.after

    async def stop(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        return await self._act("stop", id, function, reason=reason)

    async def pause(
        self, id: str, reason: str = "", *, hold_timeout: bool = False, function: str = ""
    ) -> ExecutionReport:
        return await self._act("pause", id, function, reason=reason, hold_timeout=hold_timeout)

    async def resume(self, id: str, reason: str = "", *, function: str = "") -> ExecutionReport:
        return await self._act("resume", id, function, reason=reason)

    async def _act(self, verb: Verb, id: str, function: str, **options: Any) -> ExecutionReport:
        asked = Request(verb=verb, id=check_id(id), **options)
        return (await self._find(asked, function)).executions[0]

    async def _find(self, asked: Request, function: str) -> Answer:
        """Ask the service that has the execution."""
        if function:
            return await self._ask(check_function(function), asked)
        found = await self._ask_all(asked)
        if not found:
            raise not_found(asked.id)
        return found[0]

    async def _ask_all(self, asked: Request) -> Sequence[Answer]:
        """Ask all services; return the answers of those that know something."""
        # Any function of a service answers for all of it.
        services = {name.partition(".")[0]: name for name in sorted(await self._functions())}
        limit = asyncio.Semaphore(MAX_ASKED)

        async def ask(name: str) -> Answer | None:
            async with limit:
                try:
                    return await self._ask(name, asked)
                except FunctionNotFound:
                    return None  # It does not know the execution, or has stopped since.

        answers = await asyncio.gather(*map(ask, services.values()))
        return [answer for answer in answers if answer is not None]

    async def _ask(self, function: str, asked: Request) -> Answer:
        message = Message(
            asked.model_dump_json(exclude_defaults=True).encode(),
            new_id(),
            self._clock.now(),
            deadline=self._clock.monotonic() + ASK_SECONDS,
            type=EXECUTIONS_REQUEST,
        )
        result = result_from(await self._broker.request(to_rpc(function), message))
        if result.error is not None:
            raise to_fault(result.error)
        return read_answer(result.body)
