"""Asks the processes that fire the timers of a mesh."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.engine.codecs.envelope import result_from, to_fault
from eventmesh.engine.timers.access import ListedTimers, TimerReport, not_fired
from eventmesh.engine.timers.messages import (
    TIMERS_REQUEST,
    Answer,
    Request,
    read_answer,
)
from eventmesh.engine.upkeep.dead_letters import ListFunctions
from eventmesh.model.errors import AccessDenied, FunctionNotFound, InvocationError
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import check_function, to_timers

ASK_SECONDS: Final = 10.0
"""How long the process may take to answer."""

MAX_ASKED: Final = 20
"""Services that are asked at the same time."""


class MeshTimers:
    """The timers of a mesh, over its broker. See `TimerAccess`."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        functions: ListFunctions,
        gateways: Collection[str] | None = None,
    ) -> None:
        """`functions` lists those of the services that are asked.

        `gateways` are the users of gateways where each service has a user of the broker: there, an
        answer counts only if the user of the service sent it.
        """
        self._broker = broker
        self._clock = clock
        self._functions = functions
        self._gateways = gateways

    async def list(self) -> ListedTimers:
        services = sorted({name.partition(".")[0] for name in await self._functions()})
        limit = asyncio.Semaphore(MAX_ASKED)
        incomplete: list[str] = []

        async def ask(service: str) -> Sequence[TimerReport]:
            async with limit:
                try:
                    answer = await self._ask(service, Request(verb="list"))
                except FunctionNotFound:
                    return ()  # It has no timers, or nobody fires them now.
                except InvocationError as error:
                    incomplete.append(f"{service}: {error}")
                    return ()
            if answer.skipped:
                incomplete.append(f"{service}: {answer.skipped} more timers")
            return answer.timers

        told = await asyncio.gather(*map(ask, services))
        return ListedTimers([each for timers in told for each in timers], incomplete)

    async def run(self, function: str, schedule: str = "") -> TimerReport:
        return (await self._change(Request(verb="run", function=function, schedule=schedule)))[0]

    async def pause(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        return await self._change(Request(verb="pause", function=function, schedule=schedule))

    async def resume(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        return await self._change(Request(verb="resume", function=function, schedule=schedule))

    async def _change(self, asked: Request) -> Sequence[TimerReport]:
        service, _, _ = check_function(asked.function).partition(".")
        return (await self._ask(service, asked)).timers

    async def _ask(self, service: str, asked: Request) -> Answer:
        message = Message(
            asked.model_dump_json(exclude_defaults=True).encode(),
            new_id(),
            self._clock.now(),
            deadline=self._clock.monotonic() + ASK_SECONDS,
            type=TIMERS_REQUEST,
        )
        try:
            reply = await self._broker.request(to_timers(service), message)
        except FunctionNotFound:
            raise not_fired(service) from None
        if self._gateways is not None and reply.sender != service:
            raise AccessDenied(f"{reply.sender!r:.99} answered for the timers of {service}")
        result = result_from(reply)
        if result.error is not None:
            raise to_fault(result.error)
        return read_answer(result.body)
