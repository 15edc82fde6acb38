"""Leases: the right to do something alone in the mesh, with a state that outlives the holder.

A lease is a quorum queue with a single active consumer (https://www.rabbitmq.com/docs/consumers
#single-active-consumer). The state is a message in it that the holder keeps unacked. A new state is
published before the old one is acked, so that one is always stored. A holder that dies in between
leaves two, of which the one with the higher version counts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple, TypeGuard
from uuid import uuid4

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import DeliveryError
from pamqp import commands

from eventmesh.aio.tasks import background_task, check_cancelled
from eventmesh.brokers.rabbitmq.coordination.supervision import on_channel_close
from eventmesh.brokers.rabbitmq.declarations import QueueDeclaration, quorum
from eventmesh.brokers.rabbitmq.error_translation import QueueAway, translate_errors
from eventmesh.brokers.rabbitmq.limits import NO_DELIVERY_LIMIT
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.brokers.rabbitmq.timing import CALL_SECONDS, backoff
from eventmesh.model.errors import BrokerUnavailable

REFRESH_SECONDS: Final = 600.0
"""A state that is held for this long is saved again: RabbitMQ requeues messages that are unacked
for half an hour (https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout)."""

TURN_SECONDS: Final = 30.0
"""How long a process waits in line for a lease before it goes to its end, at least.

Messages reach a consumer from the member of the queue on the consumer's own node. Seen with
RabbitMQ 3.10: a member that followed its leader no more, for twenty minutes, after nodes had been
killed. The consumer that is active there gets nothing, and the others wait for it.
"""

PREFETCH: Final = 100
MAX_LENGTH: Final = 1000

EPOCH: Final = "em-epoch"
NUMBER: Final = "em-number"

_MAX_VERSION: Final = 2**62

ARGUMENTS: Final = quorum(
    limit=NO_DELIVERY_LIMIT, max_length=MAX_LENGTH, single_active_consumer=True
)


class _WriteRefused(BrokerUnavailable):
    """RabbitMQ did not store a message in the queue of a lease."""


class Version(NamedTuple):
    """The version of a state; of two states the one with the higher version counts.

    Each holder begins a new epoch: a state that a lost holder publishes late is never newer than a
    state of its successor.
    """

    epoch: int
    number: int


@asynccontextmanager
async def hold_lease(management: Management, name: str) -> AsyncGenerator[RabbitLease]:
    """Acquire the lease `name`, waiting for it, and hold it while entered.

    If it is lost meanwhile (with the connection or the queue), the block is cancelled and
    BrokerUnavailable raised. The block is not cancelled if this process closed the broker: its
    owner knows.
    """
    async with AsyncExitStack() as stack:
        lease = await _take_lease(management, name, stack)
        tenure = asyncio.timeout(None)
        await stack.enter_async_context(background_task(_watch(lease, management, tenure)))
        try:
            async with tenure:
                yield lease
        except TimeoutError:
            if not tenure.expired():
                raise
            raise lease.lost() from None
        finally:
            lease.end("it was released")


async def _take_lease(management: Management, name: str, stack: AsyncExitStack) -> RabbitLease:
    """Wait for the lease; its channels are closed when `stack` is left.

    A queue that is not ready is tried again for CALL_SECONDS. RabbitMQ 3.10 records a quorum queue
    before it starts it (`rabbit_quorum_queue:start_cluster/1`): who declares it at the same time as
    another is told that it exists, or that its node is down, and may be refused a first message.
    """
    loop = asyncio.get_running_loop()
    ends, waits = None, backoff()
    while True:
        try:
            lease = await _join_line(management, name, stack)
        except (_WriteRefused, QueueAway):
            check_cancelled()  # aiormq may turn a cancellation into another error.
            wait, now = next(waits), loop.time()
            ends = now + CALL_SECONDS if ends is None else ends
            if now + wait > ends:
                raise
            await asyncio.sleep(wait)
            continue
        if lease is not None:
            return lease
        ends, waits = None, backoff()


async def _join_line(
    management: Management, name: str, stack: AsyncExitStack
) -> RabbitLease | None:
    """Wait for the lease for one turn in the line, and return None if others had it all the time.

    Each turn has channels of its own: one that was refused a message by a queue may be refused all
    others, because it has asked for the queue's leader too early (see `datapath.refusals`).
    """
    await management.make_own(QueueDeclaration(name, ARGUMENTS))
    async with AsyncExitStack() as attempt:
        publishing = await attempt.enter_async_context(
            management.publish_connection.channel(confirms=True)
        )
        lease = RabbitLease(
            name,
            await attempt.enter_async_context(management.connection.channel()),
            publishing,
            management.own_exchange,
            user=management.user,
            owners=management.find_owners(name),
        )
        try:
            # Random, so that not all leave the line together.
            async with asyncio.timeout(random.uniform(1, 2) * TURN_SECONDS):  # noqa: S311
                await lease.take()
        except TimeoutError:
            check_cancelled()  # One may have been forgotten while it waited.
            return None
        await stack.enter_async_context(attempt.pop_all())
        return lease


async def _watch(lease: RabbitLease, management: Management, tenure: asyncio.Timeout) -> None:
    try:
        await lease.hold()
    except BrokerUnavailable:  # Logged by the holder, in which it is raised.
        if not management.connection.closed_for_good:
            tenure.reschedule(asyncio.get_running_loop().time())


class RabbitLease:
    """One holder's lease, or that of a process which waits for it."""

    def __init__(
        self,
        name: str,
        channel: AbstractChannel,
        publishing: AbstractChannel,
        exchange: str = "",
        *,
        user: str = "",
        owners: Collection[str] = (),
    ) -> None:
        """`exchange` is where to publish to the queue `name`, and `user` who publishes.

        Only states of the users `owners` count, if there are any.
        """
        self._exchange = exchange
        self._name = name
        self._user = user
        self._owners = owners
        self._channel = channel
        self._publishing = publishing
        # No longer than PREFETCH; None stands for the end.
        self._seen: asyncio.Queue[DeliveredMessage | None] = asyncio.Queue()
        self._saving = asyncio.Lock()
        self._ended = ""
        self._state = b""
        self._version = Version(0, 0)
        self._held: int | None = None
        self._held_version = self._version
        self._held_since = asyncio.get_running_loop().time()
        on_channel_close(channel, self.end)

    @property
    def state(self) -> bytes:
        return self._state

    @property
    def version(self) -> Version:
        """The version of the state."""
        return self._version

    async def take(self) -> None:
        """Wait until this consumer is the active one, and find the newest state."""
        # A message to wait for: without one, nothing says that this consumer became active.
        await self._publish(_claim(uuid4().hex))
        async with translate_errors(f"waiting for the lease {self._name!r}"):
            await self._channel.basic_qos(prefetch_count=PREFETCH)
            await self._channel.basic_consume(self._name, self._on_message)
        first = await self._next()
        # After all messages of the last holder: when it arrives, they all have arrived.
        claim = uuid4().hex
        await self._publish(_claim(claim))
        await self._find(first, claim)
        if self._held is None:
            await self._write(b"")

    async def _find(self, message: DeliveredMessage, claim: str) -> None:
        async with translate_errors(f"taking the lease {self._name!r}"):
            while message.header.properties.message_id != claim:
                if await self._keep_newer(message):
                    self._state = message.body
                message = await self._next()
            await self._drop(message)
        # Newer than the state found, and than any that a lost holder still stores.
        self._version = self._held_version = Version(self._held_version.epoch + 1, 0)

    async def hold(self) -> None:
        """Keep the newest state unacked, and save it again in time, until the lease is lost.

        Raises BrokerUnavailable then.
        """
        while True:
            try:
                async with asyncio.timeout_at(self._held_since + REFRESH_SECONDS):
                    message = await self._next()
            except TimeoutError:
                self._held_since = asyncio.get_running_loop().time()
                await self._save_again()
                continue
            async with translate_errors(f"keeping the lease {self._name!r}"):
                await self._keep_newer(message)

    async def save(self, state: bytes) -> None:
        """Store the state. A lease whose state could not be stored is lost."""
        async with self._saving:
            await self._store(state)

    async def _save_again(self) -> None:
        """Store the state once more: the one that it is when no other is being stored.

        Taken before that, it might be an old one, which would count as the newest.
        """
        async with self._saving:
            await self._store(self._state)

    async def _store(self, state: bytes) -> None:
        if self._ended:
            raise self.lost()
        try:
            await self._write(state)
        except BrokerUnavailable as error:
            self.end(f"its state could not be stored ({error})")
            raise self.lost() from error

    async def _write(self, state: bytes) -> None:
        self._version = Version(self._version.epoch, self._version.number + 1)
        await self._publish(_state(self._version), state)
        self._state = state

    def end(self, reason: str) -> None:
        """Mark the lease as lost or released."""
        if not self._ended:
            self._ended = reason
            self._seen.put_nowait(None)

    def lost(self) -> BrokerUnavailable:
        """What to raise once it has ended."""
        return BrokerUnavailable(
            f"the lease {self._name!r} is lost, and the work that needs it ends: {self._ended}"
        )

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._seen.put_nowait(message)

    async def _next(self) -> DeliveredMessage:
        check_cancelled()
        message = await self._seen.get()
        if message is None:
            raise self.lost()
        return message

    async def _keep_newer(self, message: DeliveredMessage) -> bool:
        """Hold the message in place of the held one if its state is newer; drop it otherwise."""
        version = _version(message, self._owners)
        if version is None or version <= self._held_version:
            await self._drop(message)
            return False
        held, self._held = self._held, message.delivery_tag
        self._held_version = version
        self._held_since = asyncio.get_running_loop().time()
        if held is not None:
            await self._channel.basic_ack(held, wait=False)
        return True

    async def _drop(self, message: DeliveredMessage) -> None:
        await self._channel.basic_ack(message.delivery_tag or 0, wait=False)

    async def _publish(self, properties: commands.Basic.Properties, body: bytes = b"") -> None:
        properties.user_id = self._user or None
        writing = f"writing to the lease {self._name!r}"
        async with translate_errors(writing):
            try:
                await self._publishing.basic_publish(
                    body,
                    exchange=self._exchange,
                    routing_key=self._name,
                    properties=properties,
                    mandatory=True,
                )
            except DeliveryError as error:
                raise _WriteRefused(f"{writing}: {error}") from error


def _claim(id: str) -> commands.Basic.Properties:
    return commands.Basic.Properties(message_id=id, message_type="claim", delivery_mode=2)


def _state(version: Version) -> commands.Basic.Properties:
    headers: dict[str, Any] = {EPOCH: version.epoch, NUMBER: version.number}
    return commands.Basic.Properties(headers=headers, message_type="state", delivery_mode=2)


def _is_version(part: Any) -> TypeGuard[int]:
    """Whether the next holders can still count on from it: AMQP's integers have 64 bits."""
    return isinstance(part, int) and 0 <= part < _MAX_VERSION


def _version(message: DeliveredMessage, owners: Collection[str]) -> Version | None:
    """Return the version of a state; None for a claim and for a foreign message."""
    properties = message.header.properties
    if owners and properties.user_id not in owners:
        return None
    headers = properties.headers or {}
    epoch, number = headers.get(EPOCH), headers.get(NUMBER)
    if _is_version(epoch) and _is_version(number):
        return Version(epoch, number)
    return None
