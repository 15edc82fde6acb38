"""Publishes again, on new channels, what the broker refused.

A quorum queue refuses a message because it is full. But a channel also refuses what goes to a
queue whose leader was away when the channel first published to it: it asks that leader, and no
other, for as long as it is open (`rabbit_fifo_client:enqueue/3` of RabbitMQ 3.10; later versions
ask all members, and refuse while none answers). A new channel asks the leader of now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.brokers.rabbitmq.access.names import INLETS, inlet_queue
from eventmesh.brokers.rabbitmq.amqp.channel import Channel
from eventmesh.brokers.rabbitmq.amqp.confirms import Refused
from eventmesh.brokers.rabbitmq.datapath.publish_channel import PublishChannel
from eventmesh.brokers.rabbitmq.delays import SHARED
from eventmesh.model.errors import BrokerUnavailable, InvocationError, Throttled
from eventmesh.model.topology import Route

_log: Final = logging.getLogger("eventmesh.rabbitmq")

TRIAL_SECONDS: Final = 1.0
"""At least so long between two new channels."""

ELECTION_SECONDS: Final = 3.0
"""For as long an event may be refused because a queue elects its leader. Which queues it goes to
cannot be asked, so after that one counts as full. Elections took up to 2.2 s on three nodes."""

COUNT_SECONDS: Final = 2.0
"""The limit for asking how long a queue is."""

EVIDENCE_SECONDS: Final = 5.0
"""For as long a queue counts as one with a leader after it was asked how long it is."""

MEMORY_SECONDS: Final = 10.0
"""After so long without a refusal nothing is remembered of those before."""

MAX_REMEMBERED: Final = 1_000
"""Queues of which refusals are remembered, or that are tried on one new channel."""

QUEUE_FULL_RETRY_SECONDS: Final = 1.0

Resend: TypeAlias = Callable[[Channel], Awaitable[None]]
"""Publishes a message on a channel, and returns when it is stored. Raises Refused."""

Count: TypeAlias = Callable[[str], Awaitable[int]]
"""Counts the messages that wait in a queue; 0 if it has no leader. Raises InvocationError."""


class _Trial:
    """A new channel, and which queues took a message on it (True) or refused it (False)."""

    def __init__(self, channel: Channel, opened: float) -> None:
        self.channel = channel
        self.opened = opened
        self.outcomes: dict[bytes, asyncio.Future[bool]] = {}


class _RefusingQueue:
    """What is known of a queue that refuses, or of those that an event goes to."""

    def __init__(self, since: float) -> None:
        self.since = self.latest = since
        self.counted = float("-inf")
        """When it was last found to have messages, which its leader must have said."""
        self.full = False


class Refusals:
    """Publishes refused messages again, on one new channel a second at most for all of them.

    The first new channel on which one of them is stored replaces the channel that refused it.
    """

    def __init__(
        self,
        publish_channel: PublishChannel,
        clock: Clock,
        count: Count | None,
        retire: Callable[[Channel], None],
        *,
        patient: bool,
    ) -> None:
        """`retire` closes a channel as soon as nothing waits for a confirm on it.

        Without `patient` a message is refused for good by the first new channel.
        """
        self._publish_channel = publish_channel
        self._clock = clock
        self._count = count
        self._retire = retire
        self._patient = patient
        self._trial: _Trial | None = None
        self._opened = float("-inf")
        self._opening = asyncio.Lock()
        self._refusing: dict[bytes, _RefusingQueue] = {}

    async def publish_again(
        self, route: Route, line: bytes, refused_by: Channel, resend: Resend, ends: float
    ) -> None:
        """Publish a message that a channel refused, before the time `ends` of the clock.

        `line` identifies the queue. Raises Throttled if that is known to be full, BrokerUnavailable
        if it refuses for another reason, and what `resend` raises.
        """
        queue = self._remember(line)
        while True:
            refusing = await self._try(route, line, refused_by, resend, ends)
            if refusing is None:
                self._refusing.pop(line, None)
                return
            refused_by = refusing
            if queue.full:
                whose = "a queue that gets" if _queue_of(route) is None else "the queue of"
                raise Throttled(f"{whose} {route.name} is full", QUEUE_FULL_RETRY_SECONDS)
            now = self._clock.monotonic()
            due = max(self._opened + TRIAL_SECONDS, now)
            if not self._patient or due >= ends:
                raise BrokerUnavailable(
                    f"{route.name}: RabbitMQ refuses the message, on a new channel as well: its "
                    "queue has no leader now, or is being deleted; it was not stored"
                )
            await sleep(self._clock, due - now)

    def _remember(self, line: bytes) -> _RefusingQueue:
        now = self._clock.monotonic()
        queue = self._refusing.get(line)
        if queue is None or now - queue.latest > MEMORY_SECONDS:
            if len(self._refusing) >= MAX_REMEMBERED:
                self._refusing.clear()
            queue = self._refusing[line] = _RefusingQueue(now)
        queue.latest = now
        return queue

    async def _try(
        self, route: Route, line: bytes, refused_by: Channel, resend: Resend, ends: float
    ) -> Channel | None:
        """Publish on another channel than `refused_by`, if there is one.

        Returns None once the message is stored, else the channel that refused it.
        """
        try:
            with TimeLimit(self._clock, ends - self._clock.monotonic()):
                trial = await self._find_trial(line, refused_by)
        except TimeoutError:
            return refused_by
        if trial is not None:
            return None if await self._test(trial, route, line, resend) else refused_by
        channel = self._publish_channel.get()
        if channel is None or channel is refused_by:
            return refused_by
        try:
            await resend(channel)
        except Refused:
            return channel
        return None

    async def _find_trial(self, line: bytes, refused_by: Channel) -> _Trial | None:
        """Return a new channel on which no message went to this queue yet; None if there is none.

        Waits while another message to the queue is tried on it.
        """
        if self._publish_channel.current is not refused_by:
            return None
        trial = await self._get_trial()
        if trial is None or len(trial.outcomes) >= MAX_REMEMBERED:
            return None
        outcome = trial.outcomes.get(line)
        if outcome is None:
            return trial
        await asyncio.shield(outcome)
        return None

    async def _get_trial(self) -> _Trial | None:
        """Return the latest new channel, or a newer one; None if it is too soon for that."""
        async with self._opening:
            now, trial = self._clock.monotonic(), self._trial
            if now - self._opened < TRIAL_SECONDS:
                return trial if trial is not None and trial.channel.is_open else None
            self._opened, self._trial = now, None
            if trial is not None:
                self._retire(trial.channel)
            self._trial = _Trial(await self._publish_channel.open_another(), now)
            return self._trial

    async def _test(self, trial: _Trial, route: Route, line: bytes, resend: Resend) -> bool:
        """Publish on a new channel, and return whether the message was stored."""
        outcome = trial.outcomes[line] = asyncio.get_running_loop().create_future()
        taken = False
        try:
            await resend(trial.channel)
            taken = True
            self._adopt(trial)
        except Refused:
            await self._examine(trial, route, line)
        finally:
            outcome.set_result(taken)
        return taken

    def _adopt(self, trial: _Trial) -> None:
        if self._trial is not trial or not trial.channel.is_open:
            return  # A newer one was opened meanwhile, or it ended.
        self._trial = None
        _log.info("a queue of RabbitMQ has another leader: a new channel replaces the one before")
        replaced = self._publish_channel.replace(trial.channel)
        if replaced is not None:
            self._retire(replaced)

    async def _examine(self, trial: _Trial, route: Route, line: bytes) -> None:
        """Find out whether the queue is full: it refuses new channels and has a leader."""
        queue = self._remember(line)
        name = _queue_of(route)
        if name is None:
            queue.full = trial.opened - queue.since >= ELECTION_SECONDS
            return
        # Asked before the channel was opened: a leader that was elected since has refused nothing.
        queue.full = 0 < trial.opened - queue.counted < EVIDENCE_SECONDS
        asked = self._clock.monotonic()
        if await self._has_messages(name):
            queue.counted = asked

    async def _has_messages(self, queue: str) -> bool:
        if self._count is None:
            return False
        try:
            with TimeLimit(self._clock, COUNT_SECONDS):
                return await self._count(queue) > 0
        except (InvocationError, TimeoutError) as error:
            _log.debug("%s refuses messages and cannot be inspected: %s", queue, error)
            return False


def _queue_of(route: Route) -> str | None:
    """Return the queue of a route; None for an event."""
    exchange = route.exchange
    if not exchange:
        return route.key
    if exchange.startswith(f"{SHARED}."):
        return exchange
    if exchange.startswith(INLETS):
        return inlet_queue(exchange)
    return None
