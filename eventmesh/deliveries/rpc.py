"""Invocation by name, which every function has: its inbox and its line of synchronous callers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from eventmesh.abc import Delivery
from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, consuming
from eventmesh.deliveries.settle import AsyncDeliveryHandler
from eventmesh.engine.codecs.envelope import invocation_from, reply_from
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.protocol import REQUEST
from eventmesh.model.errors import BrokerUnavailable, InvocationError, PayloadTooLarge
from eventmesh.model.invocation import SYNC
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import dead_letters, inbox, rpc_queue
from eventmesh.triggers.queue import batching, consumption

Handle: TypeAlias = Callable[[Message], Awaitable[Result]]

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def consume_rpc(
    functions: Sequence[FunctionSpec], runtime: SourceContext
) -> AsyncGenerator[None]:
    """Answer the synchronous callers of these functions while entered."""
    queues = [rpc_queue(function.full_name, function.limits.max_pending) for function in functions]
    await runtime.broker.declare(queues)
    consumptions = [
        # Handed back, it would look like one that was lost: what was taken is answered here.
        ConsumerSpec(
            queue,
            RpcDeliveryHandler(function, runtime).handle,
            function.local_concurrency,
            finish=True,
        )
        for queue, function in zip(queues, functions, strict=True)
    ]
    async with consuming(runtime.broker, runtime.clock, consumptions):
        yield


@asynccontextmanager
async def consume_inboxes(
    functions: Sequence[FunctionSpec], runtime: SourceContext
) -> AsyncGenerator[None]:
    """Run what is in the inboxes of these functions while entered."""
    consumptions: list[ConsumerSpec | BatchConsumerSpec] = []
    for function in functions:
        queue = inbox(function.full_name)
        await runtime.broker.declare([queue, dead_letters(function.full_name)])
        trigger = batching(function)
        asynchronous = AsyncDeliveryHandler(function, runtime)
        # The failed items of a batch come back here, and are items of a batch again.
        consumptions.append(consumption(function, asynchronous, queue, trigger))
    async with consuming(runtime.broker, runtime.clock, consumptions) as stop:
        runtime.on_stop(stop)
        yield


class RpcDeliveryHandler:
    """Runs the synchronous deliveries of one function and answers their callers.

    A delivery is acknowledged after its run, so that no more are taken than run at once: the others
    wait where any replica can take them. One that comes back all the same was lost with its
    process, and may have run: it is not run again.
    """

    __slots__ = ("_function", "_routes", "_runtime")

    def __init__(self, function: FunctionSpec, runtime: SourceContext) -> None:
        self._function = function
        self._runtime = runtime
        self._routes: Handle | None = None

    async def handle(self, delivery: Delivery) -> None:
        """Run one delivery, unless it may have run before, and answer its caller."""
        if delivery.redeliveries:
            self._answer(delivery, _not_run("whoever ran the function is gone, it may have run"))
            return
        try:
            result = await self._run(delivery.message)
        except asyncio.CancelledError:
            self._answer(delivery, _not_run("the service stopped before the function had ended"))
            raise
        self._answer(delivery, result)

    def _run(self, message: Message) -> Awaitable[Result]:
        if message.type == REQUEST:
            return self._pass_to_route(message)
        return self._runtime.dispatch(invocation_from(message, self._function.full_name, SYNC))

    def _pass_to_route(self, message: Message) -> Awaitable[Result]:
        if self._routes is None:
            # Only a process that a gateway speaks to pays for loading this.
            from eventmesh.gateway.relay import RemoteRoutes  # noqa: PLC0415

            self._routes = RemoteRoutes(self._function, self._runtime).answer
        return self._routes(message)

    def _answer(self, delivery: Delivery, result: Result) -> None:
        request = delivery.message
        try:
            self._reply(request, result)
        except InvocationError as error:
            _log.warning(
                "%s: the answer to %s is lost: %s", self._function.full_name, request.id, error
            )
        delivery.ack()

    def _reply(self, request: Message, result: Result) -> None:
        """Send the result, or that it is too large for the broker."""
        now = self._runtime.clock.now()
        reply = self._runtime.broker.reply
        try:
            reply(request, reply_from(result, request, now))
        except PayloadTooLarge as error:
            reply(request, reply_from(Result(b"", error=error), request, now))


def _not_run(why: str) -> Result:
    return Result(b"", error=BrokerUnavailable(why))
