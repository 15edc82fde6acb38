"""The context of a run: what a handler may ask about its invocation, and how it calls others."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.engine.caller import Caller
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.engine.store import NO_STORE, USED, ServiceStore
from eventmesh.model.access.identity import Identity
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.duration import Duration
from eventmesh.model.event import ATTRIBUTE_PREFIX, TIMER_TYPE, parse_event_time
from eventmesh.model.invocation import Invocation
from eventmesh.model.trace_context import caused_headers, find_correlation_id

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession


class Context(Caller):
    """One invocation, as its handler sees it. Annotate a parameter with it to get it.

    `invoke`, `send` and `emit` call others. These calls belong to the same trace, and a synchronous
    call takes no longer than the time that this invocation has left.
    """

    __slots__ = ("_store", "invocation")

    def __init__(
        self,
        invocation: Invocation,
        transport: Transport,
        clock: Clock,
        outgoing: Outgoing | None = None,
        store: ServiceStore = NO_STORE,
    ) -> None:
        super().__init__(transport, clock, invocation.function, invocation.principal, outgoing)
        self.invocation = invocation
        self._store = store

    @property
    def id(self) -> str:
        """The invocation's id, the same at every attempt and for every redelivery."""
        return self.invocation.id

    @property
    def correlation_id(self) -> str:
        """The id of the first invocation of the chain that led here; its own id if it is first."""
        return find_correlation_id(self.invocation.headers, self.invocation.id)

    @property
    def function(self) -> str:
        """The full name of the function that runs."""
        return self.invocation.function

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return self.invocation.attempt

    @property
    def redeliveries(self) -> int:
        """How often this attempt was delivered before, as far as the broker counts; 0 at first.

        Above 0, an earlier run may have begun: its process was killed or stopped, or lost its
        connection. That spends no attempt.
        """
        return self.invocation.redeliveries

    @property
    def trigger(self) -> str:
        """What fired it: "http", "invoke", "event", "queue", "every", "cron", "at"."""
        return self.invocation.trigger

    @property
    def caller(self) -> str:
        """The function that called, or ""."""
        return self.invocation.caller

    @property
    def identity(self) -> Identity:
        """Who the first caller is, as its credentials were verified; carried through every call.

        It is anonymous, with the principal "", where nobody was asked for credentials. `caller` is
        the function that passed it on.
        """
        return decode_identity(self.invocation.principal)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the invocation: those of its sender, or of the HTTP request."""
        http = self.invocation.http
        return self.invocation.headers if http is None else http.headers

    @property
    def now(self) -> datetime:
        """The time, in UTC; in a test, that of the mesh's clock."""
        return datetime.fromtimestamp(self._clock.now(), UTC)

    @property
    def deadline(self) -> float | None:
        """When this run is cancelled, in seconds since the epoch; None without a limit.

        It is counted from now on: if the time of day is set this changes, and `remaining` does not.
        """
        remaining = self.remaining
        return None if remaining is None else self._clock.now() + remaining

    @property
    def remaining(self) -> float | None:
        """Seconds until the deadline, never below zero; None without a limit."""
        if self.invocation.deadline is None:
            return None
        return max(self.invocation.deadline - self._clock.monotonic(), 0.0)

    @property
    def scheduled_at(self) -> datetime | None:
        """The time that a timer was scheduled for; None if no timer fired this."""
        if self.invocation.type != TIMER_TYPE:
            return None
        time = self.invocation.headers.get(f"{ATTRIBUTE_PREFIX}time", "")
        return parse_event_time(time, self.invocation.created)

    @property
    def logger(self) -> logging.Logger:
        """The function's logger. Its records have the id of the invocation."""
        return logging.getLogger(f"eventmesh.function.{self.invocation.function}")

    @asynccontextmanager
    async def transaction(self, *, key: str = "") -> AsyncGenerator[AsyncSession]:
        """Change the service's database and send messages, both or neither.

            async with ctx.transaction() as session:
                session.add(Order(id=ctx.id, total=total))
                await ctx.emit("order.placed", order, subject=order.id)

        What `send` and `emit` are told inside the block is checked at once, and stored with the
        commit, at the end of the block; then it is published, as often as it takes. If an error
        leaves the block, nothing is changed and nothing is sent. `invoke` is a call at once.

        The commit of an asynchronous invocation also marks it as done: a repetition of it, be it a
        retry or a redelivery, is a success without a run. So what follows the block is not
        repeated, and there is one block a run.

        Messages of one `key` are published in the order of their commits, and those of one
        transaction in the order in which it gave them. Without a key that holds for events of one
        `subject`, and for what has none within its transaction.

        Raises SettingsError without a store and in a second transaction, and StoreUnavailable.
        """
        store, self._store = self._store, USED
        transport = self._transport
        async with store.transaction(self.invocation, transport, key) as opened:
            self._transport = opened.transport
            try:
                yield opened.session
            finally:
                self._transport = transport

    def _deadline(self, now: float, timeout: Duration | None) -> float:
        own = self.invocation.deadline
        if timeout is None and own is not None:
            return own
        asked = super()._deadline(now, timeout)
        return asked if own is None else min(asked, own)

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return caused_headers(self.invocation.headers, self.invocation.id) | dict(headers)
