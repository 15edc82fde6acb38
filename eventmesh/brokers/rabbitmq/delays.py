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

from eventmesh.brokers.rabbitmq.access.names import INLETS, Names, event_exchange, inlet
from eventmesh.brokers.rabbitmq.declarations import (
    LEADER_LOCATOR,
    BindingDeclaration,
    Declaration,
    Declarer,
    ExchangeDeclaration,
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

MAX_LOST: Final = 10_000
MAX_LOST_BYTES: Final = 100_000_000
MAX_KNOWN: Final = 10_000
"""Bound queues that a ladder remembers at most."""

_WILDCARD: Final = "#"
_PLAIN: Final = "%23"
"""A queue's name may be `#`, which is a wildcard in a binding; names never contain `%` or `*`."""


SHARED: Final = f"{NAME_PREFIX}.delay"
"""What the names of the ladder begin with that all share."""

DUE: Final = f"{SHARED}.due"
LOST: Final = f"{SHARED}.lost"


def ladder_prefix(names: Names | None) -> str:
    """Return the prefix of the ladder that a service has for itself, or shares with all."""
    return SHARED if names is None else names.delays


def end_name(prefix: str = SHARED) -> str:
    """Return the name of the exchange at the end of a ladder."""
    return f"{prefix}.due"


def lost_name(prefix: str = SHARED) -> str:
    """Return the name of the exchange, and of the queue, of due messages that had no target."""
    return f"{prefix}.lost"


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


def queue_binding(name: str, prefix: str = SHARED) -> BindingDeclaration:
    """Return the binding that routes due messages for the queue `name` to it."""
    return BindingDeclaration(end_name(prefix), name, _ANY_DELAY + _queue_target(name))


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


def restricted_target(route: Route, names: Names) -> Iterator[Declaration]:
    """Yield what takes due messages of one service's ladder to a target.

    Its own inboxes are bound to the end, as in the shared ladder. To everything else a message
    passes through a queue that dead-letters to the exchange of its target, for which RabbitMQ
    checks that the service may publish there. Keys that a header CC may have end in it, and what
    the target does not take stays in it and delays no other message.

    Raises DeclarationError for a name that is too long for that queue.
    """
    end = end_name(names.delays)
    if not route.exchange and names.is_own_inbox(route.key):
        yield queue_binding(route.key, names.delays)
        return
    if route.exchange:
        # An event that nobody subscribed to is dropped.
        exchange, strategy = event_exchange(route.key), "at-most-once"
        waiting = f"{names.delays}.for.{route.key}"
    else:
        exchange, strategy = inlet(route.key), "at-least-once"
        waiting = f"{names.delays}.to.{exchange.removeprefix(INLETS)}"
    if len(waiting.encode()) > MAX_SHORT_STRING:
        raise DeclarationError(
            f"{route.name!r} cannot be sent with a delay by the service {names.user!r}: the name "
            f"{waiting!r} is longer than {MAX_SHORT_STRING} bytes; give the target a shorter one"
        )
    if not route.exchange:
        # A queue may name an exchange that does not exist, but this binding may not. Whether the
        # queue of another service exists, RabbitMQ 4.2.6 and later do not tell.
        yield BindingDeclaration(end, exchange, _NO_KEY, to="exchange")
    yield QueueDeclaration(
        waiting,
        quorum(
            limit=NO_DELIVERY_LIMIT,
            max_length=MAX_QUEUE_LENGTH,
            message_ttl=1,
            dead_letter_exchange=exchange,
            dead_letter_routing_key=route.key,
            dead_letter_strategy=strategy,
        ),
    )
    yield BindingDeclaration(end, waiting, _ANY_DELAY + _target(route))


_NO_KEY: Final = "-"
"""A key that is not that of any delayed message."""


def due(prefix: str = SHARED) -> Iterator[Declaration]:
    """Yield the declarations of the end of the ladder.

    Due messages without a target any more go to a queue of their own, which keeps the latest. They
    may not stay unrouted: a level stops as soon as 32 of its messages cannot be routed.
    """
    lost = lost_name(prefix)
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
    yield ExchangeDeclaration(end_name(prefix), arguments={"alternate-exchange": lost})


def level_declarations(level: int, prefix: str = SHARED) -> Iterator[Declaration]:
    """Yield the declarations of one level; the level below must exist first."""
    name = level_name(level, prefix)
    below = level_name(level - 1, prefix) if level else end_name(prefix)
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
        self._names = names
        self._prefix = ladder_prefix(names)
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
        if self._names is not None:
            await self._bind(_target(route), list(restricted_target(route, self._names)))
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
