"""Whether a service's user may publish to an exchange, asked before the first message to it.

RabbitMQ closes the channel on which it refuses a message, and what others have under way there is
lost or in doubt. So it is asked on another channel, by unbinding what nothing binds: that needs the
same right (https://www.rabbitmq.com/docs/access-control), and has no effect.
"""

from __future__ import annotations

import asyncio
from secrets import token_hex
from typing import Final
from weakref import WeakValueDictionary

from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.access.names import EVENT_EXCHANGES, REPLIES, Names
from eventmesh.brokers.rabbitmq.error_translation import translate_errors
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.brokers.rabbitmq.timing import AWAY_SECONDS
from eventmesh.model.errors import AccessDenied, BrokerUnavailable, FunctionNotFound
from eventmesh.model.topology import Route

MAX_KNOWN: Final = 10_000
"""Exchanges that are remembered at once."""


class SendRights:
    """The exchanges that the user of one service may publish to, as far as they were asked for.

    What was allowed is remembered as long as the connection, and what was refused is not.
    """

    def __init__(self, connection: ManagementConnection, clock: Clock, names: Names | None) -> None:
        """`names` are those of the service; with None, one user for all, nothing is asked."""
        self._connection = connection
        self._clock = clock
        self._names = names
        self._generation = -1
        self._allowed: set[str] = set()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def find_route(self, route: Route, deadline: float | None = None) -> Route:
        """Return the route to the same target in the topology of the user, who may publish there.

        To ask takes no longer than until `deadline`, by the clock. Raises AccessDenied, and
        FunctionNotFound if nothing has the name.
        """
        if self._names is None:
            return route
        target = self._names.route(route)
        if not self._has(target):
            left = AWAY_SECONDS if deadline is None else deadline - self._clock.monotonic()
            await self._check(target, min(left, AWAY_SECONDS))
        return target

    def _has(self, route: Route) -> bool:
        return (
            route.exchange in self._allowed
            and self._generation == self._connection.connection_generation
        )

    async def _check(self, route: Route, seconds: float) -> None:
        # Those who ask for the same exchange wait for one answer.
        lock = self._locks.setdefault(route.exchange, asyncio.Lock())
        try:
            async with asyncio.timeout(max(seconds, 0.0)), lock:
                await self._find(route)
        except (TimeoutError, BrokerUnavailable):
            return  # Nothing is known: the publisher will see.

    async def _find(self, route: Route) -> None:
        if not self._has(route):
            await self._ask(route)
            if self._generation != self._connection.connection_generation or (
                len(self._allowed) >= MAX_KNOWN
            ):
                self._allowed.clear()
                self._generation = self._connection.connection_generation
            self._allowed.add(route.exchange)

    async def _ask(self, route: Route) -> None:
        exchange = route.exchange
        async with (
            self._connection.channel() as channel,
            translate_errors(f"asking whether {exchange!r} may be published to"),
        ):
            try:
                # All users may bind to em.replies; with this key nothing is bound.
                await channel.exchange_unbind(exchange, REPLIES, token_hex(16))
                await channel.exchange_declare(exchange, passive=True)
            except ChannelAccessRefused:
                raise self._refused(exchange, route.name) from None
            except ChannelNotFoundEntity:
                if route.mandatory:
                    raise FunctionNotFound(route.name) from None
                raise AccessDenied(
                    f"{route.name} was not sent: RabbitMQ has no exchange {exchange!r}, since no "
                    f"service declared it when its definitions were written; {_ADVICE}"
                ) from None

    def _refused(self, exchange: str, name: str) -> AccessDenied:
        user = "" if self._names is None else self._names.user
        option = "emits" if exchange.startswith(EVENT_EXCHANGES) else "calls"
        return AccessDenied(
            f"{name} was not sent: the user {user!r} of RabbitMQ may not publish to the exchange "
            f"{exchange!r}; declare it in {option}=[…] of its service, and {_ADVICE}"
        )


_ADVICE: Final = "load what 'eventmesh export broker' writes of all services"
