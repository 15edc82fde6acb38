"""Takes what others ask of the timers that this process fires, and answers them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Delivery
from eventmesh.engine.codecs.envelope import reply_from
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.engine.spec import SourceContext
from eventmesh.engine.timers.messages import Answer, Request, read_request
from eventmesh.model.errors import AccessDenied, InvocationError
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.topology import PRESENCE, Binding, presence_queue, timers_key

MAX_ORDERS: Final = 20
"""Orders that wait for the leader; older ones get no answer."""

_log: Final = logging.getLogger(__name__)


class Orders:
    """What was asked of the timers of one service. `came` is set while something waits."""

    def __init__(self, service: str, context: SourceContext) -> None:
        self.came = asyncio.Event()
        self._service = service
        self._context = context
        self._gateways = gateways_of(context.settings)
        self._waiting: deque[tuple[Message, Request]] = deque(maxlen=MAX_ORDERS)

    def on_delivery(self, delivery: Delivery) -> None:
        """Take an order, and answer at once what is none or comes from others."""
        delivery.ack()
        message = delivery.message
        try:
            self._check_sender(message)
            self._waiting.append((message, read_request(message.body)))
        except InvocationError as error:
            self.refuse(message, error)
        else:
            self.came.set()

    def take(self) -> tuple[Message, Request] | None:
        """Return the next order, with the message to reply to; None if there is none."""
        if self._waiting:
            return self._waiting.popleft()
        self.came.clear()
        return None

    def answer(self, message: Message, answer: Answer) -> None:
        """Answer an order."""
        self._reply(message, Result(answer.model_dump_json().encode()))

    def refuse(self, message: Message, error: InvocationError) -> None:
        """Answer an order by an error."""
        self._reply(message, Result(b"", error=error))

    def _check_sender(self, message: Message) -> None:
        """Raise AccessDenied for who may not ask, where each service has a user of the broker."""
        if self._gateways is not None and message.sender not in (*self._gateways, self._service):
            raise AccessDenied(
                f"{message.sender or 'nobody'} may not ask for the timers of {self._service}: name "
                "the user in EVENTMESH_GATEWAYS"
            )

    def _reply(self, message: Message, result: Result) -> None:
        try:
            reply = reply_from(result, message, self._context.clock.now())
            self._context.broker.reply(message, reply)
        except InvocationError as error:
            _log.info("an answer about the timers of %s is lost: %s", self._service, error)


@asynccontextmanager
async def take_orders(service: str, context: SourceContext) -> AsyncGenerator[Orders]:
    """Take orders while entered, which is as long as this process holds the service's lease.

    Raises BrokerUnavailable. A broker that does not allow it is no reason to fire no timers.
    """
    orders = Orders(service, context)
    queue = presence_queue(f"{context.instance}.{service}", "timers")
    async with AsyncExitStack() as stack:
        try:
            await context.broker.declare([queue], [Binding(queue, timers_key(service), PRESENCE)])
            await stack.enter_async_context(
                context.broker.consume(queue, orders.on_delivery, prefetch=MAX_ORDERS)
            )
        except AccessDenied as error:
            _log.warning("the timers of %s cannot be asked about or paused: %s", service, error)
        yield orders
