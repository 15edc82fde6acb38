"""Delays on plain RabbitMQ: a ladder of queues, each of which holds for twice as long as the next.

Level n holds every message for 2ⁿ units. A delay is a number of units. Its binary digits say at
which levels the message stops; they are the first words of its routing key, the highest first. All
messages of one level stay for the same time, so that none waits behind one that is due later, as
with a time to live for each message in one queue. The last level routes messages to the exchange
`em.delay.due`, and that one to their target.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

from eventmesh.brokers.rabbitmq.access.names import Names, event_exchange, inlet
from eventmesh.brokers.rabbitmq.declarations import (
    LEADER_LOCATOR,
    BindingDeclaration,
    Declaration,
    Declarer,
    ExchangeDeclaration,
    ForeignQueue,
    QueueDeclaration,
    quorum,
)
from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING, NO_DELIVERY_LIMIT
from eventmesh.model.errors import BrokerUnavailable, DeclarationError, FunctionNotFound
from eventmesh.model.topology import MAX_QUEUE_LENGTH, NAME_PREFIX, Route

UNIT: Final = 0.1
"""Seconds. Delays are rounded up to it."""

LEVELS: Final = 28
MAX_DELAY: Final = (2**LEVELS - 1) * UNIT
"""Seconds: 310 days."""

DUE: Final = f"{NAME_PREFIX}.delay.due"
LOST: Final = f"{NAME_PREFIX}.delay.lost"

MAX_LOST: Final = 10_000
MAX_LOST_BYTES: Final = 100_000_000
MAX_KNOWN: Final = 10_000
"""Bound queues that a ladder remembers at most."""

_WILDCARD: Final = "#"
_PLAIN: Final = "%23"
"""A queue's name may be `#`, which is a wildcard in a binding; names never contain `%` or `*`."""


SHARED: Final = f"{NAME_PREFIX}.delay"
"""What the names of the ladder begin with that all share."""


def level_name(level: int, prefix: str = SHARED) -> str:
    """Return the name of a level's exchange, which is also that of its queue."""
    return f"{prefix}.{level}"


def delayed_route(route: Route, delay: float, prefix: str = SHARED) -> Route:
    """Return a route to the same target that takes `delay` seconds (above 0) longer.

    It is always mandatory: each level has a queue for every message that stops there.

    Raises DeclarationError for a delay over MAX_DELAY, and for a name that is too long for the
    routing key.
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
    # Directly to the first level at which it stops: all digits before that are 0.
    return Route(level_name(units.bit_length() - 1, prefix), key, mandatory=True, name=route.name)


def _units(delay: float) -> int:
    # Rounded first: 0.7 s are 7 units, although 0.7 / 0.1 is slightly more in binary.
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
    """Return the binding that routes due messages for the queue `name` to it."""
    return BindingDeclaration(DUE, name, _ANY_DELAY + _queue_target(name))


def event_binding(queue: str, pattern: str) -> BindingDeclaration:
    """Return the binding that copies due events which match the pattern to the queue.

    Raises DeclarationError for a pattern that is too long with the delay before it.
    """
    key = f"{_ANY_DELAY}e.{pattern}"
    if len(key.encode()) > MAX_SHORT_STRING:
        raise DeclarationError(
            f"the event pattern {pattern!r} is too long for RabbitMQ: with room for a delay it may "
            f"have {MAX_SHORT_STRING - len(_ANY_DELAY) - 2} bytes at most"
        )
    return BindingDeclaration(DUE, queue, key)


def restricted_target(route: Route, prefix: str) -> Iterator[Declaration]:
    """Yield what takes due messages of one service's ladder to a target.

    It ends at exchanges to which the service may publish: RabbitMQ checks that with the binding. An
    event waits in a queue for a moment, from which it is dead-lettered under its own key: the keys
    that a header CC may have are gone, and its exchange is that of its type.
    """
    end = f"{prefix}.due"
    key = _ANY_DELAY + _target(route)
    if not route.exchange:
        yield ForeignQueue(route.key)
        yield BindingDeclaration(end, inlet(route.key), key, to="exchange")
        return
    waiting = f"{prefix}.for.{route.key}"
    yield QueueDeclaration(
        waiting,
        {
            **quorum(
                limit=NO_DELIVERY_LIMIT,
                max_length=MAX_QUEUE_LENGTH,
                message_ttl=1,
                dead_letter_exchange=event_exchange(route.key),
                dead_letter_routing_key=route.key,
            ),
        },
    )
    yield BindingDeclaration(end, waiting, key)


def due(prefix: str = SHARED) -> Iterator[Declaration]:
    """Yield the declarations of the end of the ladder.

    Due messages without a target any more go to a queue of their own, which keeps the latest. They
    may not stay unrouted: a level stops as soon as 32 of its messages cannot be routed.
    """
    lost = f"{prefix}.lost"
    yield ExchangeDeclaration(lost, "fanout")
    yield QueueDeclaration(
        lost,
        {
            "x-queue-type": "quorum",
            "x-delivery-limit": NO_DELIVERY_LIMIT,
            "x-overflow": "drop-head",
            LEADER_LOCATOR: "balanced",
            "x-max-length": MAX_LOST,
            "x-max-length-bytes": MAX_LOST_BYTES,
        },
    )
    yield BindingDeclaration(lost, lost, "")
    yield ExchangeDeclaration(f"{prefix}.due", arguments={"alternate-exchange": lost})


def level_declarations(level: int, prefix: str = SHARED) -> Iterator[Declaration]:
    """Yield the declarations of one level; the level below must exist first."""
    name = level_name(level, prefix)
    below = level_name(level - 1, prefix) if level else f"{prefix}.due"
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


def ladder(levels: int, prefix: str = SHARED) -> Iterator[Declaration]:
    """Yield the declarations of the lowest levels, beginning with the end of the ladder."""
    yield from due(prefix)
    for level in range(levels):
        yield from level_declarations(level, prefix)


class DelayLadder:
    """Declares levels, and the bindings from their end to the target, when first needed."""

    def __init__(self, declarer: Declarer, names: Names | None = None) -> None:
        """`names` are those of a service with a ladder of its own; None for the shared one."""
        self._declarer = declarer
        self._restricted = names is not None
        self._prefix = SHARED if names is None else names.delays
        self._generation = 0
        self._levels = 0
        self._bound: set[str] = set()

    async def ensure(self, route: Route, delay: float) -> Route:
        """Declare what a delay needs, and return the route to the same target through it.

        Raises FunctionNotFound if a mandatory route leads to no queue, and DeclarationError as
        `delayed_route` does.
        """
        delayed = delayed_route(route, delay, self._prefix)
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
            await self._declarer.carry_out(list(ladder(levels, self._prefix)))
            self._levels = max(levels, self._levels)
        if self._restricted:
            await self._bind(_target(route), list(restricted_target(route, self._prefix)))
        elif not route.exchange:
            await self._bind(route.key, [queue_binding(route.key)])

    async def _bind(self, target: str, declarations: Sequence[Declaration]) -> None:
        if target in self._bound:
            return
        await self._declarer.carry_out(declarations)
        if len(self._bound) >= MAX_KNOWN:
            self._bound.clear()
        self._bound.add(target)

    def forget(self) -> None:
        """Declare everything again when it is next needed: it may have been deleted."""
        self._generation = self._declarer.connection_generation
        self._levels = 0
        self._bound.clear()
