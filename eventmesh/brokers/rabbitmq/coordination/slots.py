"""Mesh-wide slots: a slot is a token, a message that its holder keeps unacked.

When a holder dies or loses its connection, RabbitMQ requeues its tokens and others get them. The
runs of a holder without a connection go on. Until they end or get tokens again, the mesh may run
more than the limit. The same holds for a while after the limit was changed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from eventmesh.aio.tasks import background_task, check_cancelled
from eventmesh.aio.waiters import WaitQueue
from eventmesh.brokers.rabbitmq.coordination.recount import PROBE, PROBE_SECONDS
from eventmesh.brokers.rabbitmq.coordination.slot_steps import (
    Add,
    Remove,
    Return,
    SlotsState,
    TokenConsumer,
    Wait,
    get_since,
    next_step,
)
from eventmesh.brokers.rabbitmq.coordination.supervision import on_channel_close
from eventmesh.brokers.rabbitmq.coordination.tokens import (
    Tokens,
    delete_retired,
    find_tokens,
    replace_lost,
)
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.brokers.rabbitmq.timing import backoff
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, InvocationError, Throttled

STARVED_SECONDS: Final = 30.0
"""Seconds without any token after which a process that waits suspects that some are lost."""

HAND_BACK_SECONDS: Final = 60.0
"""Seconds without a way to get slots after which what waits for them is handed back to its queue,
where other processes can take it."""

HAND_BACK_RETRY_SECONDS: Final = 5.0

RETIRE_SECONDS: Final = 5.0
"""Seconds between attempts to delete queues of tokens that are used no more."""

PATIENCE: Final = 3
"""Failures in a row, with a connection, after which other connections are tried: they may lead to
another part of a cluster that has fallen apart."""

TURN_SECONDS: Final = 1.0
"""Seconds for which a process may reuse a token before it must return it for others."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@asynccontextmanager
async def hold_slots(management: Management, name: str, limit: int) -> AsyncGenerator[RabbitSlots]:
    """Share the `limit` mesh-wide slots under `name` while entered.

    Entering does not wait for RabbitMQ; the slots come when it is reachable. Leaving returns all.
    """
    management.connection.check_open()
    slots = RabbitSlots(management, name, limit)
    try:
        async with background_task(slots.run()):
            yield slots
    finally:
        slots.close()


class RabbitSlots:
    """The share of one process in the slots of the mesh.

    Tokens and runs are counted: a run has no token in particular. A run that lost its token counts
    like a waiting caller, and comes first. `run` keeps one token consumer for each run and each
    waiting caller, and no more.
    """

    def __init__(self, management: Management, name: str, limit: int) -> None:
        self._management = management
        self._name = name
        self._owners = management.find_owners(name)
        self._limit = limit
        self._insist = True
        self._running = 0
        self._waiting = WaitQueue()
        self._consumers: list[TokenConsumer] = []
        self._surplus_since: float | None = None
        self._changed = asyncio.Event()
        self._ended = ""
        self._reported = False
        self._closed = ""
        self._starved_since = _now()
        self._sharing = False
        self._failures = 0
        self._broken_since: float | None = None
        self._retired: tuple[str, ...] = ()

    async def acquire(self) -> None:
        """Acquire a slot. Without a connection it waits for one; the caller limits the wait."""
        if self._closed:
            raise BrokerUnavailable(self._closed)
        if self._has_free_token and not self._waiting:
            self._running += 1
            return
        if not self._waiting:
            self._starved_since = _now()
        self._changed.set()
        try:
            await self._waiting.wait(self.release)
        except asyncio.CancelledError:
            self._changed.set()
            raise

    def release(self) -> None:
        """Return a slot; does nothing if none is acquired."""
        if not self._running:
            return
        self._running -= 1
        if self._has_free_token:
            oldest = min(self._usable(), key=get_since)
            oldest.returning = _now() - oldest.since > TURN_SECONDS
            self._grant()
        self._changed.set()

    def close(self) -> None:
        """Grant no more slots, and raise BrokerUnavailable in all waiting callers."""
        self._closed = f"the slots {self._name!r} are closed in this process"
        self._waiting.fail_all(lambda: BrokerUnavailable(self._closed))

    async def run(self) -> None:
        """Take and return tokens, over one connection after another."""
        async with background_task(self._hand_back()), background_task(self._delete_retired()):
            await self._share_for_ever()
        self.close()

    async def _share_for_ever(self) -> None:
        waits = backoff()
        while not self._management.connection.closed_for_good:
            failure: InvocationError | None = None
            generation = self._management.connection_generation
            try:
                await self._share()
            except InvocationError as error:
                failure = error
            check_cancelled()  # aiormq may turn a cancellation into another error.
            if self._ended:
                waits = backoff()
            await asyncio.sleep(next(waits))
            if failure is not None:
                # Only now: RabbitMQ may cancel consumers just before it closes the connection.
                lost = self._management.connection_generation != generation
                self._report(failure, lost=lost or not self._management.connection.is_open)
            await self._count_failure(failed=failure is not None and not self._ended)

    async def _count_failure(self, *, failed: bool) -> None:
        """Open other connections after PATIENCE failures to find tokens."""
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= PATIENCE and self._management.connection.is_open:
            self._failures = 0
            await self._management.reconnect(f"it leads to no slots of {self._name!r}")

    async def _hand_back(self) -> None:
        """Have what waits tried elsewhere while this process has no way to get slots."""
        while True:
            await asyncio.sleep(HAND_BACK_SECONDS / 4)
            if self._sharing:
                self._broken_since = None
            elif self._broken_since is None:
                self._broken_since = _now()
            elif _now() - self._broken_since >= HAND_BACK_SECONDS and self._waiting:
                _log.warning(
                    "%s: %d runs that wait for slots are handed back: this process gets none",
                    self._name,
                    len(self._waiting),
                )
                self._waiting.fail_all(self._throttled)

    async def _delete_retired(self) -> None:
        """Delete the queues of tokens that could not be deleted when others took their place.

        The clients of a node that was frozen or cut off know of no other queue: they would share
        the tokens of theirs beside those of all others, for as long as they are connected.
        """
        while True:
            await asyncio.sleep(RETIRE_SECONDS)
            retired = self._retired
            if not retired or not self._management.connection.is_open:
                continue
            try:
                kept = await delete_retired(self._management, retired)
            except AccessDenied as error:
                _log.warning("%s: queues of old slots stay: %s", self._name, error)
                kept = ()
            if self._retired is retired:  # Tokens may have been found again meanwhile.
                self._retired = kept

    def _throttled(self) -> Throttled:
        return Throttled(
            f"this process could not take slots of {self._name!r} for {HAND_BACK_SECONDS:g} s",
            HAND_BACK_RETRY_SECONDS,
        )

    def _report(self, error: InvocationError, *, lost: bool) -> None:
        if self._management.connection.closed_for_good:
            return
        # A lost connection is reported by ConnectionLog, once for all that use it.
        level = logging.INFO if lost else logging.WARNING
        if self._reported:
            _log.debug("%s: the slots cannot be taken: %s", self._name, error)
        elif self._running:
            _log.log(
                level,
                "%s: %d runs go on without their slots; until they get them again, the mesh may "
                "run more than the limit: %s",
                self._name,
                self._running,
                error,
            )
        elif self._waiting:
            _log.log(level, "%s: %d runs wait for slots: %s", self._name, len(self._waiting), error)
        else:
            _log.info("%s: the slots are taken anew: %s", self._name, error)
        self._reported = True

    async def _share(self) -> None:
        """Share on one channel until it ends, which returns all tokens to RabbitMQ."""
        self._ended = ""
        tokens = await find_tokens(self._management, self._name, self._limit, insist=self._insist)
        self._insist = False
        self._retired = tokens.retired
        async with self._management.connection.channel() as channel:
            on_channel_close(channel, self._end)
            try:
                async with translate_errors(f"asking for slots of {self._name!r}"):
                    await channel.basic_qos(prefetch_count=1)
                self._reported = False
                self._sharing = True
                self._starved_since = _now()
                while not self._ended:
                    check_cancelled()
                    self._changed.clear()
                    await self._give_back_probes(channel)
                    await self._replace_lost(tokens)
                    await self._take_step(channel, tokens)
            finally:
                self._sharing = False
                self._consumers.clear()
        raise BrokerUnavailable(self._ended)

    def _end(self, reason: str) -> None:
        # The first reason: after a consumer was cancelled, the channel is closed from here.
        self._ended = self._ended or reason
        self._changed.set()

    async def _take_step(self, channel: AbstractChannel, tokens: Tokens) -> None:
        match next_step(self._state(tokens.count)):
            case Add():
                await self._add(channel, tokens.queue)
            case Return(consumer):
                await self._return_token(channel, consumer)
            case Remove(consumer):
                await self._remove(channel, consumer)
            case Wait(until):
                await self._wait_for_change(min(self._alarms(until), default=None))

    def _state(self, tokens: int) -> SlotsState:
        state = SlotsState(
            consumers=self._consumers,
            running=self._running,
            waiting=len(self._waiting),
            tokens=tokens,
            now=_now(),
            surplus_since=self._surplus_since,
        )
        if state.surplus <= 0:
            self._surplus_since = None
        elif self._surplus_since is None:
            self._surplus_since = state.now
        return state

    def _alarms(self, until: float | None) -> Iterator[float]:
        """Yield the times at which there is something to do although nothing has changed."""
        if until is not None:
            yield until
        if self._waiting:
            yield self._starved_since + STARVED_SECONDS
        for consumer in self._consumers:
            if consumer.probe is not None:
                yield consumer.since + PROBE_SECONDS

    async def _give_back_probes(self, channel: AbstractChannel) -> None:
        for consumer in self._consumers:
            if consumer.probe is not None and _now() >= consumer.since + PROBE_SECONDS:
                probe, consumer.probe = consumer.probe, None
                async with translate_errors(f"counting the slots of {self._name!r}"):
                    await channel.basic_ack(probe, wait=False)

    async def _replace_lost(self, tokens: Tokens) -> None:
        """Look for lost tokens if this process waits for one and has had none for long."""
        if not self._waiting or _now() - self._starved_since < STARVED_SECONDS:
            return
        self._starved_since = _now()
        # If it does, RabbitMQ cancels our consumers, and the new ones are found.
        await replace_lost(self._management, self._name, tokens.queue, time.time())

    async def _wait_for_change(self, until: float | None) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _add(self, channel: AbstractChannel, queue: str) -> None:
        consumer = TokenConsumer()
        async with translate_errors(f"asking for a slot of {self._name!r}"):
            consumed = await channel.basic_consume(
                queue, partial(self._on_token, channel, consumer)
            )
        consumer.tag = consumed.consumer_tag or ""
        self._consumers.append(consumer)
        self._grant()  # Its token may have come already.

    async def _on_token(
        self, channel: AbstractChannel, consumer: TokenConsumer, message: DeliveredMessage
    ) -> None:
        if self._owners and message.header.properties.user_id not in self._owners:
            # It would be one slot more for the whole mesh.
            _log.warning("%s: a slot that its service did not make is dropped", self._name)
            await channel.basic_ack(message.delivery_tag or 0, wait=False)
            return
        consumer.since = _now()
        if message.header.properties.message_type == PROBE:
            consumer.probe = message.delivery_tag
            self._changed.set()
            return
        consumer.token = message.delivery_tag
        self._grant()
        self._changed.set()

    async def _remove(self, channel: AbstractChannel, consumer: TokenConsumer) -> None:
        # The consumer first: RabbitMQ would deliver its token to it again otherwise.
        self._consumers.remove(consumer)
        async with translate_errors(f"returning a slot of {self._name!r}"):
            await channel.basic_cancel(consumer.tag)
            if consumer.probe is not None:
                await channel.basic_nack(consumer.probe, requeue=True, wait=False)
        await self._return_token(channel, consumer)

    async def _return_token(self, channel: AbstractChannel, consumer: TokenConsumer) -> None:
        """Return the token; RabbitMQ gives it to the next consumer, maybe to this one."""
        token, consumer.token, consumer.returning = consumer.token, None, False
        if token is not None:
            async with translate_errors(f"returning a slot of {self._name!r}"):
                await channel.basic_nack(token, requeue=True, wait=False)

    @property
    def _has_free_token(self) -> bool:
        """Whether this process has a token that no run uses."""
        return len(self._usable()) > self._running

    def _usable(self) -> list[TokenConsumer]:
        return [consumer for consumer in self._consumers if consumer.usable]

    def _grant(self) -> None:
        while self._has_free_token and self._waiting.wake_oldest():
            self._running += 1
            self._starved_since = _now()


def _now() -> float:
    return asyncio.get_running_loop().time()
