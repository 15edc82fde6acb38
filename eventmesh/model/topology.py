"""Names and arguments of queues and exchanges, as pure data.

Every name that eventmesh makes begins with one prefix, so that it can share a broker. What each
queue is for, and its arguments on RabbitMQ, is listed in docs/rabbitmq.md.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

from eventmesh.model.broker import QUEUE_NAME
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import check_type
from eventmesh.model.value import value

NAME_PREFIX: Final = "em"
EVENTS: Final = f"{NAME_PREFIX}.events"
"""The topic exchange through which all events go; the routing key is the event's type."""

PRESENCE: Final = f"{NAME_PREFIX}.presence"
"""The topic exchange through which processes announce their presence."""

NOBODY: Final = f"{NAME_PREFIX}.nobody"
"""A queue that does not exist: what is sent there only shows whether messages are taken."""

MAX_PRESENCE_MESSAGES: Final = 10_000
"""Presence messages that may wait for one process; older ones are dropped."""

MAX_QUEUE_LENGTH: Final = 5_000_000
"""Messages in one inbox before it refuses another: a bound, not a size to work at."""

QUEUE_SCHEME: Final = "queue:"
EVENT_SCHEME: Final = "event:"

# Bounded, so that every name made of a function's stays under MAX_NAME_BYTES.
_SERVICE = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_FUNCTION = re.compile(rf"{_SERVICE.pattern}\.[A-Za-z_][A-Za-z0-9_]{{0,99}}")

Kind = Literal["inbox", "rpc", "dead", "named", "broadcast", "presence"]


@value
class Queue:
    """A queue: what it is for decides its type and arguments on a broker.

    `inbox` holds a function's asynchronous work, `rpc_queue` its synchronous callers (bounded by
    `max_length`, gone with its users), `dead` its dead letters, `named` is a queue of the users'
    own, `broadcast` one instance's copy of its events, `presence` what a process is told of others
    (gone with that process). `declare` is False for a queue that belongs to another system: it is
    used as it is.
    """

    name: str
    kind: Kind
    max_length: int = MAX_QUEUE_LENGTH
    declare: bool = True


@value
class Binding:
    """Messages of an exchange whose routing key matches `pattern` are copied to `queue`."""

    queue: Queue
    pattern: str
    exchange: str = EVENTS


@value
class Route:
    """Where a message goes: a queue by its name, or an exchange with a routing key.

    A `mandatory` route raises when there is nothing at its end; `name` is what the user called
    that end.
    """

    exchange: str
    key: str
    mandatory: bool = True
    name: str = ""


def inbox(function: str) -> Queue:
    """The durable queue of a function's asynchronous work."""
    return Queue(f"{NAME_PREFIX}.inbox.{function}", "inbox")


def rpc_queue(function: str, length: int) -> Queue:
    """The bounded queue in which synchronous callers of a function wait."""
    return Queue(f"{NAME_PREFIX}.rpc.{function}", "rpc", max_length=length)


def dead_letters(function: str) -> Queue:
    """The queue of a function's dead letters."""
    return Queue(f"{NAME_PREFIX}.dead.{function}", "dead")


def broadcast(function: str, instance: str) -> Queue:
    """One instance's own copy of the events that a function subscribed to with `broadcast`."""
    return Queue(f"{NAME_PREFIX}.broadcast.{function}.{instance}", "broadcast")


def presence_queue(instance: str, about: str) -> Queue:
    """The queue in which one process receives presence; `about` tells its queues apart."""
    return Queue(
        f"{NAME_PREFIX}.presence.{about}.{instance}", "presence", max_length=MAX_PRESENCE_MESSAGES
    )


def named(name: str, *, declare: bool = True) -> Queue:
    """A queue of the users' own, under the name that they gave it."""
    return Queue(name, "named", declare=declare)


def slots_name(function: str) -> str:
    """The name under which a function's mesh-wide slots are held."""
    return f"{NAME_PREFIX}.slots.{function}"


def lease_name(service: str) -> str:
    """The name of the lease whose holder fires a service's timers."""
    return f"{NAME_PREFIX}.timers.{service}"


def record_name(service: str) -> str:
    """The name of the lease whose state records what a service has declared."""
    return f"{NAME_PREFIX}.record.{service}"


SERVICES: Final = f"{NAME_PREFIX}.services"
"""The lease whose state lists the services that have a record."""


def to_queue(queue: Queue, name: str = "") -> Route:
    """Return the route to a queue; `name` is what users call it, if that is not its own name."""
    return Route("", queue.name, name=name or queue.name)


def to_function(function: str) -> Route:
    """Return the route to a function's inbox."""
    return to_queue(inbox(check_function(function)), function)


@lru_cache(maxsize=4096)
def to_rpc(function: str) -> Route:
    """Return the route to a function's RPC queue."""
    return to_queue(rpc_queue(check_function(function), 0), function)


@lru_cache(maxsize=4096)
def to_subscribers(type: str) -> Route:
    """The route to the subscribers of events of `type`; having none is not an error."""
    return Route(EVENTS, check_type(type), mandatory=False, name=type)


def to_presence(word: str) -> Route:
    """The route to the listeners for that presence message; having none is not an error."""
    return Route(PRESENCE, word, mandatory=False, name=word)


def timers_key(service: str) -> str:
    """The routing key of what is asked of the process that fires the timers of a service."""
    return f"timers.{check_service(service)}"


def to_timers(service: str) -> Route:
    """The route to the process that fires the timers of a service; raises if there is none."""
    return Route(PRESENCE, timers_key(service), name=f"timers of {service}")


@lru_cache(maxsize=4096)
def parse_destination(target: str) -> Route:
    """Return the route to what a user names, such as "queue:invoices" or "event:order.placed".

    Raises DeclarationError for anything else.
    """
    if target.startswith(QUEUE_SCHEME):
        return to_queue(named(check_queue(target.removeprefix(QUEUE_SCHEME))))
    if target.startswith(EVENT_SCHEME):
        return to_subscribers(target.removeprefix(EVENT_SCHEME))
    return to_function(target)


def format_destination(route: Route) -> str:
    """Return a route as users write it; `parse_destination` reads it."""
    if route.exchange == EVENTS:
        return f"{EVENT_SCHEME}{route.name}"
    return f"{QUEUE_SCHEME}{route.name}" if route.key == route.name else route.name


def check_function(name: str) -> str:
    """Return the name if it is a function's, "service.function". Raises DeclarationError if not."""
    if not _FUNCTION.fullmatch(name):
        raise DeclarationError(
            f"{name!r} is not a function name: write 'service.function', in letters from A to Z, "
            "digits and '_', at most 63 and 100 (a queue is 'queue:NAME', an event 'event:TYPE')"
        )
    return name


def check_service(name: str) -> str:
    """Return the name if a service can have it. Raises DeclarationError if not."""
    if not _SERVICE.fullmatch(name):
        raise DeclarationError(
            f"a service cannot be called {name!r}: use letters, digits, '_' and '-', beginning "
            "with a letter or '_', 63 at most"
        )
    return name


def check_queue(name: str) -> str:
    """Return the name if a queue of the users' can have it. Raises DeclarationError if not."""
    if not QUEUE_NAME.fullmatch(name):
        raise DeclarationError(
            f"a queue cannot be called {name!r}: use letters from A to Z, digits, spaces and any "
            "of _ . : @ # , / + -, 1 to 255 in all"
        )
    if name.startswith(("amq.", f"{NAME_PREFIX}.")):
        raise DeclarationError(
            f"a queue cannot be called {name!r}: 'amq.' belongs to the broker and '{NAME_PREFIX}.' "
            "to eventmesh; choose another name"
        )
    return name
