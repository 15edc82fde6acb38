"""Mesh-wide slots: a slot is a token, a message that its holder keeps unanswered.

When a holder dies, RabbitMQ gives its tokens to others. When it only loses its connection, they do
the same, and what runs there goes on: until that has ended, or has its tokens again, more may run
in the mesh than the limit says. The same holds for a while after the limit was changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from eventmesh.aio.tasks import background_task
from eventmesh.brokers.rabbitmq.coordination.supervision import on_channel_close
from eventmesh.brokers.rabbitmq.coordination.tokens import Tokens, find_tokens
from eventmesh.brokers.rabbitmq.datapath.connection import backoff
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.model.errors import BrokerUnavailable, InvocationError

TURN_SECONDS: Final = 1.0
"""For how long one process uses a token again and again before others get a chance of it."""

SURPLUS_GRACE_SECONDS: Final = 0.005
"""For how long a token that nobody here needs is kept, should somebody need it after all."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


@asynccontextmanager
async def hold_slots(management: Management, name: str, limit: int) -> AsyncGenerator[RabbitSlots]:
    """The mesh-wide slots under `name`, of which there are `limit`. Leaving gives all back.

    Entered at once; the slots come when RabbitMQ is there.
    """
    management.connection.check_open()
    slots = RabbitSlots(management, name, limit)
    try:
        async with background_task(slots.run()):
            yield slots
    finally:
        slots.close()


class TokenConsumer:
    """A consumer of tokens, which has one or waits for one."""

    __slots__ = ("returning", "since", "tag", "token")

    def __init__(self) -> None:
        self.tag = ""
        self.token: int | None = None
        self.since = 0.0
        self.returning = False
        """Whether the token is on its way back: its turn here is over."""


class RabbitSlots:
    """One process's part in the slots of the mesh.

    Tokens and runs are counted: a run belongs to no token in particular, and one that lost its
    token counts like a caller that waits, and comes first. `run` sees to it that there is a place
    for each run and each waiting caller, and no more.
    """

    def __init__(self, management: Management, name: str, limit: int) -> None:
        self._management = management
        self._name = name
        self._limit = limit
        self._insist = True
        self._running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._places: list[TokenConsumer] = []
        self._surplus_since: float | None = None
        self._changed = asyncio.Event()
        self._ended = ""
        self._closed = ""

    async def acquire(self) -> None:
        """As the contract says. Without a connection it waits for one; the caller limits that."""
        if self._closed:
            raise BrokerUnavailable(self._closed)
        if self._free and not self._waiting:
            self._running += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._changed.set()
        try:
            await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
                self._changed.set()
            elif not turn.cancelled() and turn.exception() is None:
                self.release()  # It was given at the very moment the wait ended.
            raise

    def release(self) -> None:
        """Give a slot back; nothing happens without one in hand."""
        if not self._running:
            return
        self._running -= 1
        if self._free:
            oldest = min(self._usable(), key=_since)
            oldest.returning = _now() - oldest.since > TURN_SECONDS
            self._grant()
        self._changed.set()

    def close(self) -> None:
        """Give out no more, and let those who wait know."""
        self._closed = f"the slots {self._name!r} are closed in this process"
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(BrokerUnavailable(self._closed))

    async def run(self) -> None:
        """Take tokens and give them back, over one connection after another."""
        waits = backoff()
        while not self._management.connection.closed:
            try:
                await self._session()
            except InvocationError as error:
                self._report(error)
            if self._ended:
                waits = backoff()
            await asyncio.sleep(next(waits))
        self.close()

    def _report(self, error: InvocationError) -> None:
        if self._management.connection.closed:
            return
        if self._running:
            _log.warning(
                "%s: %d runs go on without their slots, until they get them again more may run "
                "in the mesh than the limit says: %s",
                self._name,
                self._running,
                error,
            )
        elif self._waiting:
            _log.warning("%s: %d runs wait for slots: %s", self._name, len(self._waiting), error)
        else:
            _log.info("%s: the slots are taken anew: %s", self._name, error)

    async def _session(self) -> None:
        """Serve on one channel, until it ends: then all tokens are back with RabbitMQ."""
        self._ended = ""
        tokens = await find_tokens(self._management, self._name, self._limit, insist=self._insist)
        self._insist = False
        async with self._management.connection.channel() as channel:
            on_channel_close(channel, self._end)
            try:
                async with translate_errors(f"asking for slots of {self._name!r}"):
                    await channel.basic_qos(prefetch_count=1)
                while not self._ended:
                    self._changed.clear()
                    if not await self._adjust(channel, tokens):
                        await self._wait_for_change()
            finally:
                self._places.clear()
        raise BrokerUnavailable(self._ended)

    def _end(self, reason: str) -> None:
        self._ended = reason
        self._changed.set()

    async def _adjust(self, channel: AbstractChannel, tokens: Tokens) -> bool:
        """Do one thing that is to be done; False if there is nothing to do now."""
        wanted = min(self._running + len(self._waiting), tokens.count)
        surplus = len(self._places) - wanted
        if surplus <= 0:
            self._surplus_since = None
        returning = next((place for place in self._places if place.returning), None)
        if returning is not None and surplus <= 0:
            await self._hand_back(channel, returning)
        elif returning is not None:
            await self._remove(channel, returning)
        elif surplus < 0:
            await self._add(channel, tokens.queue)
        elif surplus > 0 and (needless := self._surplus_consumer()) is not None:
            await self._remove(channel, needless)
        else:
            return False
        return True

    def _surplus_consumer(self) -> TokenConsumer | None:
        """The place to give up of those that are too many, if it is time for that."""
        for place in self._places:
            if place.token is None:
                return place
        if self._surplus_since is None:
            self._surplus_since = _now()
        if _now() - self._surplus_since < SURPLUS_GRACE_SECONDS:
            return None
        return min(self._places, key=_since)

    async def _wait_for_change(self) -> None:
        deadline = (
            None if self._surplus_since is None else self._surplus_since + SURPLUS_GRACE_SECONDS
        )
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _add(self, channel: AbstractChannel, queue: str) -> None:
        place = TokenConsumer()
        async with translate_errors(f"asking for a slot of {self._name!r}"):
            consumed = await channel.basic_consume(queue, partial(self._on_token, place))
        place.tag = consumed.consumer_tag or ""
        self._places.append(place)
        self._grant()  # Its token may be there already.

    async def _on_token(self, place: TokenConsumer, message: DeliveredMessage) -> None:
        place.token = message.delivery_tag
        place.since = _now()
        self._grant()
        self._changed.set()

    async def _remove(self, channel: AbstractChannel, place: TokenConsumer) -> None:
        # The consumer first: its own token would come back to it otherwise.
        self._places.remove(place)
        async with translate_errors(f"giving up a slot of {self._name!r}"):
            await channel.basic_cancel(place.tag)
        await self._hand_back(channel, place)

    async def _hand_back(self, channel: AbstractChannel, place: TokenConsumer) -> None:
        """To the next consumer in RabbitMQ's turn, which is this one if nobody else waits."""
        token, place.token, place.returning = place.token, None, False
        if token is not None:
            async with translate_errors(f"giving back a slot of {self._name!r}"):
                await channel.basic_nack(token, requeue=True, wait=False)

    @property
    def _free(self) -> bool:
        """Whether there is a token here that no run needs."""
        return len(self._usable()) > self._running

    def _usable(self) -> list[TokenConsumer]:
        return [place for place in self._places if place.token is not None and not place.returning]

    def _grant(self) -> None:
        while self._waiting and self._free:
            turn = self._waiting.popleft()
            if not turn.done():
                self._running += 1
                turn.set_result(None)


def _since(place: TokenConsumer) -> float:
    return place.since


def _now() -> float:
    return asyncio.get_running_loop().time()
