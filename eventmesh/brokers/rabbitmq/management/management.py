"""Declares and inspects queues: everything that is not the data path."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Final, Self

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from eventmesh.brokers.rabbitmq.access.names import (
    INLETS,
    Names,
    binding_key,
    event_exchange,
    is_wild,
    owners_of,
)
from eventmesh.brokers.rabbitmq.address import Address
from eventmesh.brokers.rabbitmq.connection_log import ConnectionLog
from eventmesh.brokers.rabbitmq.declarations import (
    BindingDeclaration,
    Declaration,
    ExchangeDeclaration,
    ForeignQueue,
    QueueDeclaration,
    Server,
    queue_declarations,
    without_repetitions,
)
from eventmesh.brokers.rabbitmq.delays import (
    due,
    end_name,
    event_binding,
    ladder_prefix,
    queue_binding,
)
from eventmesh.brokers.rabbitmq.endpoints import Endpoints
from eventmesh.brokers.rabbitmq.error_translation import QueueAway, check_away, translate_errors
from eventmesh.brokers.rabbitmq.management.basic_get import GetDelivery, Getter
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.brokers.rabbitmq.management.differences import Differences
from eventmesh.brokers.rabbitmq.management.stream_flag import StreamFlag
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS
from eventmesh.model.errors import (
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
)
from eventmesh.model.topology import EVENTS, NAME_PREFIX, Binding, Queue

_log: Final = logging.getLogger("eventmesh.rabbitmq")


class Management:
    """The operations on queues, over a connection of their own that publishes nothing.

    An alarm therefore never blocks it (https://www.rabbitmq.com/docs/connection-blocked): dead
    letters can be read and slots returned while a disk is full. `publish_connection` is for the
    few messages of leases and slots.
    """

    def __init__(
        self,
        address: Address,
        name: str,
        log: ConnectionLog | None = None,
        names: Names | None = None,
        endpoints: Endpoints | None = None,
    ) -> None:
        """Pass the `log` and the `endpoints` of a process with other connections to the broker.

        `names` are those of the service in the restricted topology.
        """
        self._names = names
        self._ladder = ladder_prefix(names)
        self.own_exchange = "" if names is None else names.own
        log = log or ConnectionLog(name, address)
        self._user = address.sending_user
        self._gateways = frozenset(address.gateways)
        endpoints = endpoints or Endpoints(address)
        self.connection = ManagementConnection(address, name, log, endpoints)
        self.publish_connection = ManagementConnection(
            address, f"{name}, publishing", log, endpoints
        )
        self._cluster = address.is_cluster
        self._differences = Differences(self._cluster)
        self._stream_flag = StreamFlag(
            partial(ManagementConnection, address, f"{name}, asking", None, endpoints),
            f"{NAME_PREFIX}.check." if names is None else names.reply_queues,
        )
        self._flag_told = False
        self._getter = Getter(self.connection)
        self._end_made_after: int | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._stack.push_async_callback(self.publish_connection.close)
        self._stack.push_async_callback(self.connection.close)
        # Left first: queued acks are sent before the connection is closed.
        tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        tasks.create_task(self._getter.run())
        self._stack.callback(self._getter.finish)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.closed_for_good = self.publish_connection.closed_for_good = True
        # Without the error: a task group would wrap it into an ExceptionGroup.
        await self._stack.aclose()

    @property
    def user(self) -> str:
        """The user of the connections; "" for a login by certificate, which RabbitMQ names."""
        return self._user

    def find_owners(self, name: str) -> frozenset[str]:
        """Return the users whose messages count in a queue of leases or slots; none for any."""
        return owners_of(name, self._user, self._gateways)

    @property
    def connection_generation(self) -> int:
        """The number of lost connections: earlier declarations may be gone after each."""
        return self.connection.connection_generation

    async def check_delays(self) -> None:
        """Raise BrokerUnavailable if RabbitMQ may lose messages with a delay."""
        if not self._stream_flag.enabled:
            await self._stream_flag.check(await self.connection.server_version())

    async def server(self) -> Server:
        """Return what decides the arguments of queues."""
        return Server(await self.connection.server_version(), self._cluster)

    async def declare(self, queues: Sequence[Queue], bindings: Sequence[Binding] = ()) -> None:
        """Create the queues and bindings that do not exist yet.

        A queue of ours that exists with other arguments is not changed, with a warning. Raises
        FunctionNotFound if another system's queue does not exist, DeclarationError if RabbitMQ
        refuses a declaration, AccessDenied and BrokerUnavailable. That is QueueAway if the queue
        exists on a node that is away.
        """
        names, server = self._names, await self.server()
        if not self._flag_told and any(queue.kind == "inbox" for queue in queues):
            self._flag_told = True
            await self._stream_flag.warn(server.version)
        plan = list(
            _plan(queues, bindings, server)
            if names is None
            else _plan_own(queues, bindings, names, server)
        )
        end = end_name(self._ladder)
        if any(isinstance(step, BindingDeclaration) and step.source == end for step in plan):
            await self._make_end_of_ladder()
        await self.carry_out(without_repetitions(plan))

    async def unbind(self, bindings: Sequence[Binding], keep: Sequence[Binding]) -> None:
        """Remove these bindings but not what `keep` needs. Raises as `Broker.unbind` does."""
        kept = set(_subscriptions(keep, self._names))
        for binding in _subscriptions(bindings, self._names):
            if binding not in kept:
                await self._unbind(binding)

    async def _unbind(self, binding: BindingDeclaration) -> None:
        async with (
            self.connection.channel() as channel,
            translate_errors(f"unbinding {binding.destination!r}"),
        ):
            try:
                await channel.queue_unbind(binding.destination, binding.source, binding.key)
            except ChannelNotFoundEntity:
                return  # The queue or the exchange is gone, and the binding with it.

    async def _make_end_of_ladder(self) -> None:
        # Once for each connection, not for each of a thousand queues.
        generation = self.connection_generation
        if self._end_made_after != generation:
            await self.carry_out(list(due(self._ladder)))
            self._end_made_after = generation

    async def make_own(self, queue: QueueDeclaration) -> None:
        """Create a queue that is published to through `own_exchange`, with its name as the key."""
        bind = [BindingDeclaration(self.own_exchange, queue.name, queue.name)]
        await self.carry_out([queue, *(bind if self.own_exchange else ())])

    async def carry_out(self, declarations: Sequence[Declaration]) -> None:
        """Create what does not exist yet, in this order. Raises as `declare` does.

        FunctionNotFound is also raised for a binding to a queue that does not exist.
        """
        remaining = deque(declarations)
        while remaining:
            async with self.connection.channel() as channel:
                while remaining and not channel.is_closed:
                    again = await self._carry_out(channel, remaining.popleft())
                    if again is not None:
                        remaining.appendleft(again)

    async def _carry_out(
        self, channel: AbstractChannel, declaration: Declaration
    ) -> Declaration | None:
        """Carry out one declaration, and return what is to be tried in its place."""
        name = declaration.key if isinstance(declaration, BindingDeclaration) else declaration.name
        short_lived = isinstance(declaration, QueueDeclaration) and declaration.any_type
        seconds = AWAY_SECONDS if short_lived else None
        try:
            async with translate_errors(f"declaring {name!r}", seconds):
                try:
                    await _declare(
                        channel, declaration, passive=name in self._differences.other_type
                    )
                except ChannelPreconditionFailed as error:
                    # It closes the channel; the rest is declared on another one.
                    return self._differences.find(declaration, name, str(error))
                except ChannelNotFoundEntity as error:
                    check_away(error)
                    if self._differences.forget_type(name):
                        return declaration
                    self._end_made_after = None
                    raise _missing(declaration, str(error)) from None
        except BrokerUnavailable as error:
            if not short_lived or not self.connection.is_open:
                raise
            await self._delete_away(name, error)
            self._differences.forget_type(name)
            await self.connection.close_channel(channel)
            return declaration
        return None

    async def _delete_away(self, name: str, error: BrokerUnavailable) -> None:
        """Delete a queue whose node is away, so that another one can have it.

        RabbitMQ up to 3.10 refuses that: then QueueAway is raised.
        """
        async with self.connection.channel() as channel:
            try:
                async with translate_errors(f"deleting {name!r}", AWAY_SECONDS):
                    # Not one that others use, which only seemed to be away.
                    await channel.queue_delete(name, if_unused=True)
            except (BrokerUnavailable, ChannelNotFoundEntity, ChannelPreconditionFailed):
                raise error if isinstance(error, QueueAway) else QueueAway(str(error)) from None
        _log.info("%r was on a node that is away, and is made anew: %s", name, error)

    async def reconnect(self, reason: str) -> None:
        """End both connections; they are opened again, maybe to other nodes."""
        await self.connection.drop(reason)
        await self.publish_connection.drop(reason)

    def abandon(self) -> None:
        """End the connections for good, without waiting for RabbitMQ."""
        for connection in (self.connection, self.publish_connection):
            connection.abandon()

    async def get(self, queue: Queue) -> GetDelivery | None:
        """Take one message; None if there is none. It is requeued if it is unacked at the end."""
        return await self._getter.get(queue.name)

    async def depth(self, queue: Queue) -> int:
        """Return how many messages wait in the queue; 0 if there is no such queue."""
        return (await self._count(queue.name))[0]

    async def count_messages(self, queue: str) -> int:
        """Return how many messages wait in `queue`; 0 without such a queue, or a leader of it."""
        return (await self._count(queue))[0]

    async def count_consumers(self, queue: Queue) -> int:
        """Return how many consumers the queue has; 0 if there is no such queue."""
        return (await self._count(queue.name))[1]

    async def _count(self, queue: str) -> tuple[int, int]:
        async with self.connection.channel() as channel, translate_errors(f"inspecting {queue!r}"):
            try:
                declared = await channel.queue_declare(queue, passive=True)
            except ChannelNotFoundEntity as error:
                check_away(error)
                return 0, 0
            return declared.message_count or 0, declared.consumer_count or 0

    async def purge(self, queue: Queue) -> int:
        """Drop the waiting messages, and return how many there were."""
        async with (
            self.connection.channel() as channel,
            translate_errors(f"purging {queue.name!r}"),
        ):
            try:
                purged = await channel.queue_purge(queue.name)
            except ChannelNotFoundEntity as error:
                check_away(error)
                return 0
            return purged.message_count or 0

    async def delete(self, queue: str) -> int:
        """Delete the queue `queue` if it exists, and return how many messages it had.

        Raises QueueAway if its node is away, with which it would come back.
        """
        async with self.connection.channel() as channel, translate_errors(f"deleting {queue!r}"):
            try:
                deleted = await channel.queue_delete(queue)
            except ChannelNotFoundEntity as error:
                check_away(error)
                return 0
            return deleted.message_count or 0


def _plan(
    queues: Sequence[Queue], bindings: Sequence[Binding], server: Server
) -> Iterator[Declaration]:
    """Yield all declarations that these need, in the order of their dependencies."""
    wanted = {queue.name: queue for queue in (*(bound.queue for bound in bindings), *queues)}
    for exchange in sorted({bound.exchange for bound in bindings}):
        yield ExchangeDeclaration(exchange)
    for queue in wanted.values():
        yield from queue_declarations(queue, None, server)
        if queue.declare and queue.kind in _DELAYED:
            yield queue_binding(queue.name)
    yield from _subscriptions(bindings, None)


def _plan_own(
    queues: Sequence[Queue], bindings: Sequence[Binding], names: Names, server: Server
) -> Iterator[Declaration]:
    """Yield the same for the restricted topology, whose exchanges are there already."""
    wanted = {queue.name: queue for queue in (*(bound.queue for bound in bindings), *queues)}
    for queue in wanted.values():
        yield from queue_declarations(queue, names, server)
        if names.is_own_inbox(queue.name):
            yield queue_binding(queue.name, names.delays)
    yield from _subscriptions(bindings, names)


def _subscriptions(
    bindings: Iterable[Binding], names: Names | None
) -> Iterator[BindingDeclaration]:
    """Yield what subscribes the queues of these bindings, which must exist first."""
    for bound in bindings:
        source, key = bound.exchange, binding_key(bound.pattern)
        if names is not None and source == EVENTS and not is_wild(bound.pattern):
            source = event_exchange(bound.pattern)
        yield BindingDeclaration(source, bound.queue.name, key)
        if names is None and source == EVENTS:
            yield event_binding(bound.queue.name, key)


_DELAYED: Final = frozenset(("inbox", "named", "broadcast"))
"""Kinds of queues to which delayed messages are sent. They are bound here, so that a queue that was
deleted and created again gets the messages that were already delayed for it."""


async def _declare(channel: AbstractChannel, declaration: Declaration, *, passive: bool) -> None:
    match declaration:
        case QueueDeclaration():
            await channel.queue_declare(
                declaration.name,
                durable=True,
                passive=passive,
                arguments=dict(declaration.arguments),
            )
        case ForeignQueue():
            await channel.queue_declare(declaration.name, passive=True)
        case ExchangeDeclaration():
            await channel.exchange_declare(
                declaration.name,
                exchange_type=declaration.kind,
                durable=True,
                arguments=dict(declaration.arguments or {}),
            )
        case BindingDeclaration(to="queue"):
            await channel.queue_bind(declaration.destination, declaration.source, declaration.key)
        case BindingDeclaration():
            await channel.exchange_bind(
                declaration.destination, declaration.source, declaration.key
            )


def _missing(declaration: Declaration, reason: str) -> InvocationError:
    match declaration:
        case ForeignQueue():
            return FunctionNotFound(
                declaration.name,
                "the queue belongs to another system (declare=False), which must create it first; "
                "without declare=False, eventmesh creates it",
            )
        case BindingDeclaration() if "no queue" in reason or declaration.destination.startswith(
            INLETS
        ):
            return FunctionNotFound(declaration.destination)
        case _:
            return BrokerUnavailable(f"a queue or exchange was deleted meanwhile, retry: {reason}")
