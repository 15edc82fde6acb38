"""RabbitMQ as a broker, with one connection for publishing and one for consuming.

`Management` opens two more when it first needs them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Self

from eventmesh.abc import Delivery, Lease, Slots, Subscription
from eventmesh.aio.clock import Clock, SystemClock
from eventmesh.brokers.rabbitmq.access.admission import Admit, admission, admit_taken
from eventmesh.brokers.rabbitmq.access.names import REPLIES, Names
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.amqp.connection import AmqpConnection
from eventmesh.brokers.rabbitmq.amqp.properties import encode_user
from eventmesh.brokers.rabbitmq.connection_log import ConnectionLog
from eventmesh.brokers.rabbitmq.coordination.lease import hold_lease
from eventmesh.brokers.rabbitmq.coordination.slots import hold_slots
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.consumer import Consumer, keep_consuming
from eventmesh.brokers.rabbitmq.datapath.publisher import PUBLISH_SECONDS, Publisher
from eventmesh.brokers.rabbitmq.datapath.reply_sender import ReplySender
from eventmesh.brokers.rabbitmq.datapath.rpc_client import RpcClient
from eventmesh.brokers.rabbitmq.delays import DelayLadder
from eventmesh.brokers.rabbitmq.endpoints import Endpoints
from eventmesh.brokers.rabbitmq.error_translation import QueueAway
from eventmesh.brokers.rabbitmq.management.declaring import Declaring
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.brokers.rabbitmq.management.queue_lookup import QueueLookup
from eventmesh.brokers.rabbitmq.management.send_rights import SendRights
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS, CLOSE_SECONDS, DELETE_SECONDS
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
    Throttled,
    consumed,
)
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import Binding, Queue, Route

_log: Final = logging.getLogger("eventmesh.rabbitmq")

_OWN: Final = ("broadcast", "presence")
"""Kinds of queues that belong to one process."""


class RabbitBroker:
    """RabbitMQ 3.10 to 4.3. docs/rabbitmq.md lists what it declares there.

    Entering waits for the first connections. With a `connect_timeout` in seconds it raises
    BrokerUnavailable after that time, and AccessDenied as soon as RabbitMQ refuses the user or the
    virtual host. With None it waits without a limit, also until these are created.

    After that, lost connections are opened again without a limit, and their consumers start again.
    `ready` says whether all connections and consumers are up.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        name: str = "eventmesh",
        connect_timeout: float | None = None,
        publish_timeout: float = PUBLISH_SECONDS,
    ) -> None:
        """`publish_timeout` 0 makes publishing fail at once while there is no connection."""
        address = parse_address(url)
        self._clock = clock = clock or SystemClock()
        self._connect_timeout = connect_timeout
        retry = connect_timeout is None
        log, endpoints = ConnectionLog(name, address), Endpoints(address)
        open_connection = partial(
            ReconnectingConnection,
            address,
            log=log,
            endpoints=endpoints,
            retry_refused_login=retry,
        )
        self._publishing = open_connection(f"{name} (publishing)", self._prepare)
        self._consuming = open_connection(f"{name} (consuming)")
        user = encode_user(address.sending_user)
        self._trusted = frozenset((address.user, *address.gateways))
        self._names = names = Names(address.user) if address.per_service else None
        self._management = Management(address, f"{name} (management)", log, names, endpoints)
        self._declaring = Declaring(self._management, self._consuming, connect_timeout)
        self._publisher = Publisher(
            self._publishing,
            clock,
            publish_timeout,
            user=user,
            declare=names is None,
            count=self._management.count_messages,
        )
        self._rpc_client = RpcClient(
            self._publishing,
            clock,
            publish_timeout,
            user,
            names,
            count=self._management.count_messages,
        )
        self._reply_sender = ReplySender(
            self._publishing, clock, user, "" if names is None else REPLIES
        )
        self._ladder = DelayLadder(self._management, names)
        self._lookup = QueueLookup(self._management.connection)
        self._send_rights = SendRights(self._management.connection, clock, names)
        self._bindings: dict[str, list[Binding]] = {}
        self._stand_ins: dict[str, Queue] = {}
        self._consumers: set[Consumer] = set()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(self._reply_sender.close)
            for connection in (self._publishing, self._consuming):
                stack.callback(tasks.create_task(connection.run()).cancel)
            await stack.enter_async_context(self._management)
            failure = await self._connect()
            if failure is None:
                self._stack = stack.pop_all()
                return self
        # Only here: inside, the task group would wrap it into an ExceptionGroup.
        raise failure

    async def _connect(self) -> InvocationError | None:
        """Wait for the first connections, and return the error if that fails."""
        try:
            async with asyncio.timeout(self._connect_timeout):
                for connection in (self._publishing, self._consuming):
                    await connection.wait_connected()
        except AccessDenied as refusal:
            return refusal
        except TimeoutError:
            missing = self._consuming if self._publishing.current else self._publishing
            reason = missing.unavailable_reason
            return BrokerUnavailable(f"after {self._connect_timeout:g} s, {reason}")
        return None

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        out_of_time = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self.abandon)
        try:
            await self._stack.__aexit__(kind, error, traceback)
        finally:
            out_of_time.cancel()

    def abandon(self) -> None:
        self._management.abandon()
        for connection in (self._publishing, self._consuming):
            connection.abandon("this process has no time left to wait for RabbitMQ")

    async def _prepare(self, connection: AmqpConnection) -> None:
        await self._publisher.prepare(connection)
        await self._rpc_client.prepare(connection)
        await self._reply_sender.prepare(connection)

    @property
    def ready(self) -> bool:
        publishing = self._publishing.current
        return (
            publishing is not None
            and not publishing.blocked
            and self._consuming.current is not None
            and all(consumer.ready for consumer in self._consumers)
        )

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding] = ()) -> None:
        if self._names is not None:
            queues = [self._names.queue(queue) for queue in queues]
            bindings = [replace(bound, queue=self._names.queue(bound.queue)) for bound in bindings]
        await self._declaring.declare(queues, bindings)
        for binding in bindings:
            known = self._bindings.setdefault(binding.queue.name, [])
            if binding not in known:
                known.append(binding)

    async def unbind(self, bindings: Sequence[Binding], keep: Sequence[Binding] = ()) -> None:
        await self._management.unbind(bindings, keep)
        for binding in bindings:
            known = self._bindings.get(binding.queue.name, [])
            if binding in known and binding not in keep:
                known.remove(binding)

    async def publish(
        self, route: Route, message: Message, *, delay: float = 0.0, give_up: bool = True
    ) -> None:
        if self._stand_ins and not route.exchange and route.key in self._stand_ins:
            route = replace(route, key=self._stand_ins[route.key].name)
        if delay > 0:
            await self._publish_later(route, message, delay, give_up=give_up)
            return
        target = route if self._names is None else await self._send_rights.find_route(route)
        try:
            await self._publisher.publish(target, message, give_up=give_up)
        except FunctionNotFound:
            if not route.exchange:
                await self._lookup.check(route.key, AWAY_SECONDS)
            raise

    async def _publish_later(
        self, route: Route, message: Message, delay: float, *, give_up: bool
    ) -> None:
        await self._management.check_delays()
        await self._send_rights.find_route(route)
        channel_generation = self._publisher.channel_generation
        delayed = await self._ladder.ensure(route, delay)
        try:
            await self._publisher.publish(delayed, message, give_up=give_up)
        except FunctionNotFound:
            # Not the target, which `ensure` has checked: the queue of a level was deleted.
            self._ladder.forget()
            delayed = await self._ladder.ensure(route, delay)
            await self._publisher.publish(delayed, message, give_up=give_up)
        except BrokerUnavailable:
            if self._publisher.channel_generation != channel_generation:
                self._ladder.forget()  # Its exchange may have been deleted.
            raise

    async def request(self, route: Route, message: Message) -> Message:
        target = await self._send_rights.find_route(route, message.deadline)
        try:
            return await self._rpc_client.request(target, message)
        except (FunctionNotFound, Throttled):
            if message.deadline is not None and not route.exchange:
                await self._lookup.check(route.key, message.deadline - self._clock.monotonic())
            raise

    def reply(self, request: Message, reply: Message) -> None:
        self._reply_sender.reply(request, reply)

    @asynccontextmanager
    async def consume(
        self, queue: Queue, deliver: Callable[[Delivery], None], *, prefetch: int
    ) -> AsyncGenerator[Subscription]:
        if prefetch < 1:
            raise ValueError(f"prefetch={prefetch} is not possible: use 1 or more")
        queue = self._named(queue)
        declare = partial(self._declare_again, queue)
        # After a fault the two connections come back in any order. A request that is taken before
        # its reply can be sent would keep its caller waiting in vain.
        replies = self._publishing if queue.kind == "rpc" else None
        consumer = Consumer(
            self._consuming,
            self._clock,
            queue.name,
            prefetch,
            deliver=deliver,
            declare=declare,
            reply_connection=replies,
            admit=self._admission(queue),
            may_be_away=queue.kind == "rpc",
        )
        async with AsyncExitStack() as stack:
            self._consumers.add(consumer)
            stack.callback(self._consumers.discard, consumer)
            if queue.kind in _OWN:
                stack.push_async_exit(partial(self._delete_in_time, queue))
            yield await stack.enter_async_context(keep_consuming(consumer))

    def _named(self, queue: Queue) -> Queue:
        return queue if self._names is None else self._names.queue(queue)

    def _admission(self, queue: Queue) -> Admit | None:
        if self._names is None or queue.kind == "presence":
            return None
        bindings = self._bindings.setdefault(queue.name, [])
        return admission(queue.name, self._trusted, lambda: [each.pattern for each in bindings])

    async def _delete_in_time(
        self, queue: Queue, kind: type[BaseException] | None, *_: object
    ) -> None:
        """Delete a queue of this process alone, if that is quick: the process is stopping."""
        queue = self._stand_ins.pop(queue.name, queue)
        # Whoever cancels has no time left, and the queue expires anyway.
        if kind is not asyncio.CancelledError:
            await self._delete(queue)

    async def _delete(self, queue: Queue) -> None:
        try:
            if not self._management.connection.is_open:
                raise BrokerUnavailable("there is no connection to RabbitMQ")
            async with asyncio.timeout(DELETE_SECONDS):
                await self._management.delete(queue.name)
        except (BrokerUnavailable, TimeoutError) as error:
            _log.info("%s cannot be deleted now and will expire: %s", queue.name, error)

    async def _declare_again(self, queue: Queue) -> str:
        """Declare a queue with its bindings, and return the name that it has now.

        What belongs to this process alone gets another name while the node of the first is away.
        """
        current = self._stand_ins.get(queue.name, queue)
        if current is queue and self._declaring.take_declared(queue):
            return queue.name
        try:
            await self._declare_bound(queue, current)
        except QueueAway as error:
            if queue.kind not in _OWN:
                raise
            current = replace(queue, name=f"{queue.name}.{new_id()[:6]}")
            await self._declare_bound(queue, current)
            self._stand_ins[queue.name] = current
            _log.warning("%s is made anew as %s: %s", queue.name, current.name, error)
        return current.name

    async def _declare_bound(self, queue: Queue, current: Queue) -> None:
        bindings = self._bindings.get(queue.name, ())
        await self._management.declare(
            [current], [replace(each, queue=current) for each in bindings]
        )

    async def get(self, queue: Queue) -> Delivery | None:
        delivery = await self._management.get(self._named(queue))
        if delivery is not None and self._names is not None:
            delivery.message = admit_taken(
                delivery.message, delivery.exchange, queue.name, self._trusted
            )
        return delivery

    async def depth(self, queue: Queue) -> int:
        """See `Broker.depth`. A quorum queue counts requeued messages some milliseconds later.

        RabbitMQ 3.10 took 6 ms for 200 messages.
        """
        return await self._management.depth(self._named(queue))

    async def list_queues(self) -> None:
        """Return None: AMQP has no method for it, and the management plugin need not run."""

    async def purge(self, queue: Queue) -> int:
        return await self._management.purge(self._named(queue))

    async def delete(self, queue: Queue) -> int:
        """See `Broker.delete`. A consumer that begins at the same moment is started again.

        RabbitMQ cannot delete a quorum queue only if it is unused, so this looks first.
        """
        queue = self._named(queue)
        if consumers := await self._management.count_consumers(queue):
            raise consumed(queue.name, consumers)
        return await self._management.delete(queue.name)

    def slots(self, name: str, limit: int) -> AbstractAsyncContextManager[Slots]:
        return hold_slots(self._management, name, limit)

    def lease(self, name: str) -> AbstractAsyncContextManager[Lease]:
        return hold_lease(self._management, name)
