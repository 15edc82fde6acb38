"""Calls of handlers in an instance: the service makes them, under its own limits and name."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from itertools import count
from typing import Final

from eventmesh.aio.clock import SystemClock
from eventmesh.instances.wire.codec import Operation, dump_call
from eventmesh.instances.wire.frames import Frames, Kind
from eventmesh.model.errors import BrokerUnavailable, InvocationError
from eventmesh.model.message import Message, check_size
from eventmesh.model.result import Result

current_run: Final[ContextVar[int]] = ContextVar("eventmesh_run", default=0)
"""The number of the run in whose task this is."""


class ServiceTransport:
    """Carries calls to the service, which answers each."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._clock = SystemClock()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Result | InvocationError | None]] = {}

    async def request(self, function: str, message: Message) -> Result:
        answer = await self._call("request", function, message, 0.0)
        if isinstance(answer, Result):
            return answer
        return Result(b"", error=answer or BrokerUnavailable("the service gave no result"))

    async def send(self, destination: str, message: Message, delay: float) -> None:
        await self._store("send", destination, message, delay)

    async def emit(self, event: Message, delay: float) -> None:
        await self._store("emit", event.type, event, delay)

    async def _store(
        self, operation: Operation, target: str, message: Message, delay: float
    ) -> None:
        answer = await self._call(operation, target, message, delay)
        if isinstance(answer, InvocationError):
            raise answer

    async def _call(
        self, operation: Operation, target: str, message: Message, delay: float
    ) -> Result | InvocationError | None:
        check_size(message)
        number = next(self._numbers)
        answer: asyncio.Future[Result | InvocationError | None]
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        now = self._clock.monotonic()
        head, body = dump_call(
            operation, target, message, run=current_run.get(), delay=delay, now=now
        )
        self._frames.send(Kind.CALL, number, head, body)
        try:
            return await answer
        finally:
            del self._waiting[number]

    def answer(self, number: int, answer: Result | InvocationError | None) -> None:
        """Take the outcome of a call; nobody waits for one that was cancelled."""
        waiting = self._waiting.get(number)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
