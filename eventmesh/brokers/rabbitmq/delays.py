"""Delays on plain RabbitMQ: a ladder of queues, each of which holds for twice as long as the next.

Level n holds every message for 2ⁿ units. A delay is a number of units; its binary digits say at
which levels the message stops, and are the first words of its routing key, the highest first. All
messages of one level stay for the same time, so that none waits behind another that is due later
(a time to live for each message, in one queue, would do just that). From the last level a message
comes to the exchange `em.delay.due`, and from there to where it was sent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from eventmesh.brokers.rabbitmq.declarations import (
    BindingDeclaration,
    Declaration,
    Declarer,
    ExchangeDeclaration,
    QueueDeclaration,
    quorum,
)
from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING, NO_DELIVERY_LIMIT
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, FunctionNotFound
from eventmesh.model.topology import MAX_QUEUE_LENGTH, PREFIX, Route

UNIT: Final = 0.1
"""Seconds. Delays are rounded up to it."""

LEVELS: Final = 28
MAX_DELAY: Final = (2**LEVELS - 1) * UNIT
"""Seconds: 310 days."""

DUE: Final = f"{PREFIX}.delay.due"
LOST: Final = f"{PREFIX}.delay.lost"

MAX_LOST: Final = 10_000
MAX_LOST_BYTES: Final = 100_000_000
MAX_KNOWN: Final = 10_000
"""Queues of which a ladder remembers that they are bound."""

_WILDCARD: Final = "#"
_PLAIN: Final = "%23"
"""Queues may be called what a binding takes for a wildcard; but none has a `%` in its name, nor the
other wildcard, `*`."""


def level_name(level: int) -> str:
    """The name of a level's exchange, and of its queue."""
    return f"{PREFIX}.delay.{level}"


def delayed_route(route: Route, delay: float) -> Route:
    """The way to the same end, arriving `delay` seconds (above 0) later.

    It is mandatory whatever the end: a level always has a queue for what stops at it.

    Raises DeclarationError for a delay over MAX_DELAY, and for a name that is too long to be
    carried along.
    """
    units = _units(delay)
    digits = ".".join(f"{units:0{LEVELS}b}")
    key = f"{digits}.{_target(route)}"
    if len(key.encode()) > MAX_SHORT_STRING:
        room = MAX_SHORT_STRING - len(key.encode()) + len(route.key.encode())
        raise DeclarationError(
            f"{route.name!r} cannot be sent with a delay: its name {route.key!r} is longer than "
            f"{room} bytes; give it a shorter one, or send without a delay"
        )
    # Straight to the first level at which it stops: all digits before are 0.
    return Route(level_name(units.bit_length() - 1), key, mandatory=True, name=route.name)


def _units(delay: float) -> int:
    # Rounded first: 0.7 s are 7 units, though 0.7 / 0.1 is a little more in binary.
    units = max(math.ceil(round(delay / UNIT, 6)), 1)
    if units >= 2**LEVELS:
        raise DeclarationError(
            f"a delay of {delay:g} s is over the longest, {MAX_DELAY:g} s (310 days): use a timer"
        )
    return units


def _target(route: Route) -> str:
    return f"e.{route.key}" if route.exchange else _queue_target(route.key)


def _queue_target(name: str) -> str:
    return f"q.{name.replace(_WILDCARD, _PLAIN)}"


_ANY_DELAY: Final = "*." * LEVELS


def queue_binding(name: str) -> BindingDeclaration:
    """What is due for the queue `name` goes to it."""
    return BindingDeclaration(DUE, name, _ANY_DELAY + _queue_target(name))


def event_binding(queue: str, pattern: str) -> BindingDeclaration:
    """Events that are due and fit the pattern are copied to the queue.

    Raises DeclarationError for a pattern that is too long with the delay before it.
    """
    key = f"{_ANY_DELAY}e.{pattern}"
    if len(key.encode()) > MAX_SHORT_STRING:
        raise DeclarationError(
            f"the event pattern {pattern!r} is too long for RabbitMQ: events may be delayed, and "
            f"with that a pattern has {MAX_SHORT_STRING - len(_ANY_DELAY) - 2} bytes at most"
        )
    return BindingDeclaration(DUE, queue, key)


def due() -> Iterator[Declaration]:
    """The end of the ladder.

    What is due and has nowhere to go any more ends in a queue of its own, which keeps the latest
    of it. It may not stay unrouted: a level stops once 32 of its messages have no way out.
    """
    yield ExchangeDeclaration(LOST, "fanout")
    yield QueueDeclaration(
        LOST,
        {
            "x-queue-type": "quorum",
            "x-delivery-limit": NO_DELIVERY_LIMIT,
            "x-overflow": "drop-head",
            "x-max-length": MAX_LOST,
            "x-max-length-bytes": MAX_LOST_BYTES,
        },
    )
    yield BindingDeclaration(LOST, LOST, "")
    yield ExchangeDeclaration(DUE, arguments={"alternate-exchange": LOST})


def level_declarations(level: int) -> Iterator[Declaration]:
    """One level; the one below it has to be there before."""
    name = level_name(level)
    below = level_name(level - 1) if level else DUE
    before = "*." * (LEVELS - 1 - level)
    yield ExchangeDeclaration(name)
    yield QueueDeclaration(
        name,
        quorum(
            limit=NO_DELIVERY_LIMIT,
            max_length=MAX_QUEUE_LENGTH,
            message_ttl=round(2**level * UNIT * 1000),
            dead_letter_exchange=below,
            dead_letter_strategy="at-least-once",
        ),
    )
    yield BindingDeclaration(name, name, f"{before}1.#")
    yield BindingDeclaration(name, below, f"{before}0.#", to="exchange")


def ladder(levels: int) -> Iterator[Declaration]:
    """The lowest levels, from the end of the ladder on."""
    yield from due()
    for level in range(levels):
        yield from level_declarations(level)


class DelayLadder:
    """Makes the levels that are needed, and the way from their end, when they are first needed."""

    def __init__(self, declarer: Declarer) -> None:
        self._declarer = declarer
        self._generation = 0
        self._levels = 0
        self._bound: set[str] = set()

    async def ensure(self, route: Route, delay: float) -> Route:
        """The way to the same end, `delay` seconds later, once all of it is there.

        Raises FunctionNotFound where a mandatory route leads to no queue, and DeclarationError as
        `delayed_route` does.
        """
        delayed = delayed_route(route, delay)
        if self._generation != self._declarer.connection_generation:
            self.forget()
        try:
            await self._make(route, levels=_units(delay).bit_length())
        except FunctionNotFound:
            if route.mandatory:
                raise FunctionNotFound(route.name) from None
        except BrokerUnavailable:
            self.forget()
            raise
        return delayed

    async def _make(self, route: Route, levels: int) -> None:
        if levels > self._levels:
            await self._declarer.carry_out(list(ladder(levels)))
            self._levels = max(levels, self._levels)
        if not route.exchange and route.key not in self._bound:
            await self._declarer.carry_out([queue_binding(route.key)])
            if len(self._bound) >= MAX_KNOWN:
                self._bound.clear()
            self._bound.add(route.key)

    def forget(self) -> None:
        """Make everything again when it is next needed: it may have been deleted."""
        self._generation = self._declarer.connection_generation
        self._levels = 0
        self._bound.clear()
