"""Invocation by name, which every function has: its inbox and its line of synchronous callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from eventmesh.abc import Delivery
from eventmesh.codecs.wire import invocation_from, reply_from
from eventmesh.errors import BrokerUnavailable
from eventmesh.function import AnyFunction, Runtime
from eventmesh.invocation import SYNC
from eventmesh.result import Result
from eventmesh.topology import dead_letters, inbox, line
from eventmesh.triggers._consume import BatchConsumption, Consumption, consuming
from eventmesh.triggers._settle import Asynchronous
from eventmesh.triggers.queue import batching, consumption


@asynccontextmanager
async def lines(functions: Sequence[AnyFunction], runtime: Runtime) -> AsyncGenerator[None]:
    """Answer the synchronous callers of these functions while entered."""
    queues = [line(function.full_name, function.limits.line) for function in functions]
    await runtime.broker.declare(queues)
    consumptions = [
        Consumption(queue, Synchronous(function, runtime).handle, function.places)
        for queue, function in zip(queues, functions, strict=True)
    ]
    async with consuming(runtime.broker, runtime.clock, consumptions):
        yield


@asynccontextmanager
async def inboxes(functions: Sequence[AnyFunction], runtime: Runtime) -> AsyncGenerator[None]:
    """Run what is in the inboxes of these functions while entered."""
    consumptions: list[Consumption | BatchConsumption] = []
    for function in functions:
        queue = inbox(function.full_name)
        await runtime.broker.declare([queue, dead_letters(function.full_name)])
        trigger = batching(function)
        asynchronous = Asynchronous(function, runtime, batch=trigger is not None)
        # The failed items of a batch come back here, and are items of a batch again.
        consumptions.append(consumption(function, asynchronous, queue, trigger))
    async with consuming(runtime.broker, runtime.clock, consumptions):
        yield


class Synchronous:
    """Runs the synchronous deliveries of one function and answers their callers."""

    __slots__ = ("_function", "_runtime")

    def __init__(self, function: AnyFunction, runtime: Runtime) -> None:
        self._function = function
        self._runtime = runtime

    async def handle(self, delivery: Delivery) -> None:
        # Before it is run, not after: a synchronous invocation runs at most once, and the caller
        # of one that died with its process is told by its deadline.
        delivery.ack()
        request, runtime = delivery.message, self._runtime
        try:
            result = await runtime.dispatch(
                invocation_from(request, self._function.full_name, SYNC)
            )
        except asyncio.CancelledError:
            stopped = BrokerUnavailable("the service stopped before the function had ended")
            self._reply(delivery, Result(b"", error=stopped))
            raise
        self._reply(delivery, result)

    def _reply(self, delivery: Delivery, result: Result) -> None:
        request, runtime = delivery.message, self._runtime
        runtime.broker.reply(request, reply_from(result, request, runtime.clock.now()))
