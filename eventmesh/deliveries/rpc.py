"""Consumes synchronous invocations: runs each at most once, and replies to its caller."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeAlias

from eventmesh.abc import Delivery
from eventmesh.deliveries.consume import ConsumerSpec, run_consumers
from eventmesh.deliveries.hand_back import HandBack
from eventmesh.engine.codecs.envelope import invocation_from, reply_from
from eventmesh.engine.codecs.trust import believe_for
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import (
    BrokerUnavailable,
    InvocationError,
    NotBegun,
    PayloadTooLarge,
)
from eventmesh.model.invocation import SYNC
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import rpc_queue

RequestHandler: TypeAlias = Callable[[Message], Awaitable[Result]]
"""Runs one request. Whatever happens comes back as a `Result`; only cancellation is raised."""

RequestHandlerFactory: TypeAlias = Callable[[FunctionSpec, SourceContext], RequestHandler]
"""Makes the handler of one function for requests of one type, when the first one comes."""

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def consume_rpc(
    functions: Sequence[FunctionSpec],
    context: SourceContext,
    request_types: Mapping[str, RequestHandlerFactory],
) -> AsyncGenerator[None]:
    """Run the requests of these functions' synchronous callers while entered.

    A request whose message has one of `request_types` goes to the handler of that type; any other
    is an invocation.
    """
    queues = [rpc_queue(function.full_name, function.limits.max_pending) for function in functions]
    await context.broker.declare(queues)
    specs = [
        # Requeued, a delivery would look like one that was lost: all that is delivered is run here.
        ConsumerSpec(
            queue,
            RpcDeliveryHandler(function, context, request_types).handle,
            function.local_concurrency,
            HandBack(context.broker, context.clock),
            finish=True,
            believe=believe_for(context.settings, function.service),
        )
        for queue, function in zip(queues, functions, strict=True)
    ]
    async with run_consumers(context.broker, context.clock, specs):
        yield


class RpcDeliveryHandler:
    """Runs the synchronous deliveries of one function and replies to their callers.

    A delivery is acknowledged after its run, so that no more are delivered than run at once: the
    others wait where any replica can get them. A redelivered one was lost with its process or its
    connection, and may have run: it is not run again.
    """

    __slots__ = ("_context", "_function", "_handlers", "_request_types")

    def __init__(
        self,
        function: FunctionSpec,
        context: SourceContext,
        request_types: Mapping[str, RequestHandlerFactory],
    ) -> None:
        self._function = function
        self._context = context
        self._request_types = request_types
        self._handlers: dict[str, RequestHandler] = {}

    async def handle(self, delivery: Delivery) -> None:
        """Run one delivery, unless it may have run before, and reply to its caller."""
        if delivery.redeliveries:
            reason = "the process that took it died or lost its connection; it may have run"
            self._reply(delivery, _not_run(reason))
            return
        try:
            result = await self._run(delivery)
        except asyncio.CancelledError:
            self._reply(delivery, _not_run("the service stopped before the function had ended"))
            raise
        if isinstance(result.error, NotBegun):
            return  # It was lost while it waited: whoever gets it next replies to its caller.
        self._reply(delivery, result)

    def _run(self, delivery: Delivery) -> Awaitable[Result]:
        message = delivery.message
        if message.type in self._request_types:
            return self._find_handler(message.type)(message)
        return self._context.dispatch(
            invocation_from(message, self._function.full_name, SYNC, delivery=delivery)
        )

    def _find_handler(self, request_type: str) -> RequestHandler:
        handler = self._handlers.get(request_type)
        if handler is None:
            handler = self._request_types[request_type](self._function, self._context)
            self._handlers[request_type] = handler
        return handler

    def _reply(self, delivery: Delivery, result: Result) -> None:
        request = delivery.message
        try:
            self._send_reply(request, result)
        except InvocationError as error:
            _log.warning(
                "%s: the reply to %s is lost: %s", self._function.full_name, request.id, error
            )
        delivery.ack()

    def _send_reply(self, request: Message, result: Result) -> None:
        """Send the result, or an error if it is too large for the broker."""
        now = self._context.clock.now()
        reply = self._context.broker.reply
        try:
            reply(request, reply_from(result, request, now))
        except PayloadTooLarge as error:
            reply(request, reply_from(Result(b"", error=error), request, now))


def _not_run(reason: str) -> Result:
    return Result(b"", error=BrokerUnavailable(reason))
