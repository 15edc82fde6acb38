"""What the user of a service may do at RabbitMQ, made of what its code declares, as pure data.

The three regular expressions are those of https://www.rabbitmq.com/docs/access-control: `configure`
is for declaring and deleting, `write` for publishing to an exchange and for what is bound, `read`
for consuming and for what is bound to. Declaring a queue that dead-letters needs `read` on it and
`write` on the exchange that it names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from eventmesh.brokers.rabbitmq.access.names import (
    EVENT_EXCHANGES,
    REPLIES,
    Names,
    binding_key,
    event_exchange,
    inlet,
    is_wild,
)
from eventmesh.brokers.rabbitmq.limits import MAX_SHORT_STRING
from eventmesh.model.errors import SettingsError
from eventmesh.model.topology import (
    EVENTS,
    NAME_PREFIX,
    NOBODY,
    PRESENCE,
    QUEUE_SCHEME,
    SERVICES,
    dead_letters,
    inbox,
    lease_name,
    record_name,
    rpc_queue,
)
from eventmesh.model.value import value

NOTHING: Final = "^$"

MAX_PATTERN: Final = 1024
"""Bytes of one regular expression. RabbitMQ 4.3 refuses a longer one; 4.0 took it."""

_EVERY: Final = "*"
_FUNCTION_NAME: Final = r"[A-Za-z0-9_]+"
_SENT_TO: Final = "inbox|rpc|dead"
_OWN: Final = f"{_SENT_TO}|slots|broadcast|replies|presence|delay"
"""Kinds of queues: a service has all whose names go on with its own name."""


@value
class Rights:
    """What a service is and does, as its code declares it.

    `functions` are its own, by full name. `queues` are the queues of its triggers, and
    `foreign_queues` those that belong to another system. `patterns` are those of its events.
    `calls` and `emits` are what `Service` got, with the destinations of outcomes; `calls` may have
    "service.*" and "queue:NAME".
    """

    service: str
    functions: tuple[str, ...]
    queues: tuple[str, ...] = ()
    foreign_queues: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    emits: tuple[str, ...] = ()


@value
class Permissions:
    """The permissions of one user in one virtual host.

    `patterns` is a regular expression of the keys with which it may bind to the exchange of all
    events; it may publish to none of the topic exchanges with a key but to that of presence.
    `exchange` is a direct one for leases that is made for it alone, if it is no service.
    """

    user: str
    configure: str
    write: str
    read: str
    patterns: str = NOTHING
    exchange: str = ""


def permissions(rights: Rights) -> Permissions:
    """Return the permissions of the user of a service.

    Raises SettingsError if they, or a name in them, are too long for RabbitMQ.
    """
    _check_names(rights)
    service, names = re.escape(rights.service), Names(rights.service)
    # Not each function: MAX_PATTERN would then limit how many there are.
    mine = [
        rf"{NAME_PREFIX}\.({_OWN})\.{service}\..+",
        re.escape(lease_name(rights.service)),
        re.escape(record_name(rights.service)),
        re.escape(SERVICES),  # Not its own alone: it has nothing but the names of all.
        *_alternatives(rights.queues),
    ]
    inlets = [
        rf"{NAME_PREFIX}\.to\.({_SENT_TO})\.{service}\..+",
        *_below(inlet(""), rights.queues),
    ]
    subscribed = [each for each in rights.patterns if not is_wild(each)]
    wild = [each for each in rights.patterns if is_wild(each)]
    shared = [re.escape(name) for name in (names.own, PRESENCE, REPLIES)]
    return _checked(
        Permissions(
            rights.service,
            configure=_any(mine),
            write=_any(
                [
                    *mine,
                    *inlets,
                    *_functions(rights),
                    *_below(inlet(""), _called_queues(rights)),
                    *_below(EVENT_EXCHANGES, rights.emits),
                    re.escape(inlet(NOBODY)),  # It asks for alarms there.
                    *shared,
                ]
            ),
            read=_any(
                [
                    *mine,
                    *_alternatives(rights.foreign_queues),
                    *inlets,
                    *_below(EVENT_EXCHANGES, subscribed),
                    *([re.escape(EVENTS)] if wild else []),
                    *shared,
                ]
            ),
            patterns=_any(_alternatives(map(binding_key, wild))),
        )
    )


def _check_names(rights: Rights) -> None:
    """Raise SettingsError for a name that leaves no room for that of its exchange."""
    queues = dict.fromkeys((*rights.queues, *_called_queues(rights)))
    types = dict.fromkeys((*rights.emits, *(each for each in rights.patterns if not is_wild(each))))
    for what, names, exchange in (
        ("queue", queues, inlet),
        ("event type", types, event_exchange),
    ):
        for name in names:
            over = len(exchange(name).encode()) - MAX_SHORT_STRING
            if over > 0:
                most = len(name.encode()) - over
                raise SettingsError(
                    f"the {what} {name!r} of the service {rights.service!r} is too long for a user "
                    f"of its own: RabbitMQ takes names of {MAX_SHORT_STRING} bytes, and that of "
                    f"its exchange begins with {exchange('')!r}; give it {most} bytes at most"
                )


def gateway_permissions(user: str) -> Permissions:
    """Return the permissions of a gateway: it calls every function, and redrives dead letters.

    It reads no inbox and answers no request, so that it can take nothing from a service. It may
    write to these queues, because RabbitMQ 4.3 tells their lengths to nobody who may do nothing
    with them: that lets it bind them to what it reads, which are no exchanges of services.
    """
    mine = rf"{NAME_PREFIX}\.(replies|presence|delay)\.{re.escape(user)}\..+"
    shared = [re.escape(PRESENCE), re.escape(REPLIES)]
    return _checked(
        Permissions(
            user,
            configure=_any([mine]),
            write=_any(
                [mine, rf"{NAME_PREFIX}\.(to|event|inbox|rpc)\..+", re.escape(PRESENCE)],
            ),
            read=_any([mine, rf"{re.escape(dead_letters('').name)}.+", *shared]),
        )
    )


def operator_permissions(user: str, all_rights: Sequence[Rights]) -> Permissions:
    """Return the permissions of the command line: what `ps`, `doctor`, `dlq` and `prune` do.

    It takes messages out of inboxes and dead letters to move them, unbinds and deletes the queues
    of functions, and reads and writes the records of services. It answers no request, moves no
    timer, takes no slot, and reads no queue of a trigger. To queues of triggers it may write, so
    that RabbitMQ 4.3 tells their lengths to it, if that fits into a permission.
    """
    mine = rf"{NAME_PREFIX}\.(replies|presence|delay)\.{re.escape(user)}\..+"
    own = Names(user).own
    records = [rf"{re.escape(record_name(''))}.+", re.escape(SERVICES)]
    write = [
        mine,
        rf"{NAME_PREFIX}\.(to|event|inbox)\..+",
        *map(re.escape, (own, PRESENCE)),
        *records,
    ]
    queues = [name for each in all_rights for name in (*each.queues, *each.foreign_queues)]
    all_write = _any([*write, *_alternatives(queues)])
    return _checked(
        Permissions(
            user,
            configure=_any(
                [mine, rf"{NAME_PREFIX}\.(inbox|rpc|dead|slots|timers)\..+", *records],
            ),
            write=all_write if len(all_write.encode()) <= MAX_PATTERN else _any(write),
            read=_any(
                [
                    mine,
                    rf"{NAME_PREFIX}\.(inbox|dead|event)\..+",
                    *map(re.escape, (own, EVENTS, PRESENCE, REPLIES)),
                    *records,
                ]
            ),
            patterns=".*",
            exchange=own,
        )
    )


def exchanges(
    all_rights: Sequence[Rights],
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the exchanges that no service may declare, with their types, and their bindings.

    They are made with the users, so that no service can delete that of another. A binding is a
    source and a destination: each type of event goes to the exchange of all events, too, to which
    patterns with wildcards are bound.
    """
    types = {type for each in all_rights for type in each.emits}
    types |= {each for one in all_rights for each in one.patterns if not is_wild(each)}
    # The last is for a question about alarms: a message to nobody.
    made = {EVENTS: "topic", PRESENCE: "topic", REPLIES: "direct", inlet(NOBODY): "fanout"}
    for rights in all_rights:
        made[Names(rights.service).own] = "direct"
        for queue in (*_inlet_queues(rights), *_called_queues(rights)):
            made[inlet(queue)] = "fanout"
    for type in sorted(types):
        made[event_exchange(type)] = "fanout"
    return made, [(event_exchange(type), EVENTS) for type in sorted(types)]


def _inlet_queues(rights: Rights) -> list[str]:
    """The queues of a service that others, or itself, send to."""
    named = [
        queue.name
        for function in rights.functions
        for queue in (inbox(function), rpc_queue(function, 0), dead_letters(function))
    ]
    return [*named, *rights.queues]


def _called_queues(rights: Rights) -> list[str]:
    return [
        call.removeprefix(QUEUE_SCHEME) for call in rights.calls if call.startswith(QUEUE_SCHEME)
    ]


def _functions(rights: Rights) -> list[str]:
    """The exchanges of the functions of others that are called, as regular expressions."""
    services: dict[str, list[str]] = {}
    for call in rights.calls:
        service, _, function = call.partition(".")
        if not call.startswith(QUEUE_SCHEME) and service != rights.service:
            services.setdefault(service, []).append(function)
    called = [
        rf"{re.escape(service)}\."
        + (_FUNCTION_NAME if _EVERY in functions else _group(map(re.escape, functions)))
        for service, functions in services.items()
    ]
    return [rf"{NAME_PREFIX}\.to\.(inbox|rpc)\.{_group(called)}"] if called else []


def _below(prefix: str, names: Iterable[str]) -> list[str]:
    """The names with a prefix before each, as at most one regular expression."""
    ends = _alternatives(names)
    return [re.escape(prefix) + _group(ends)] if ends else []


def _alternatives(names: Iterable[str]) -> list[str]:
    """Names as regular expressions, in which those with the same first word have it in common."""
    words: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        first, dot, rest = name.partition(".")
        words.setdefault(re.escape(first + dot), []).append(re.escape(rest))
    return [first + _group(rests) for first, rests in words.items()]


def _group(parts: Iterable[str]) -> str:
    alternatives = list(dict.fromkeys(parts))
    return alternatives[0] if len(alternatives) == 1 else f"({'|'.join(alternatives)})"


def _any(parts: Sequence[str]) -> str:
    """A regular expression that matches what one of the parts matches as a whole.

    RabbitMQ searches for a match anywhere in a name, so that both ends are anchored.
    """
    # `$` also matches before a newline at the end, which a name may have.
    return rf"\A({'|'.join(parts)})\z" if parts else NOTHING


def _checked(granted: Permissions) -> Permissions:
    for what, pattern in (
        ("write", granted.write),
        ("read", granted.read),
        ("configure", granted.configure),
        ("patterns", granted.patterns),
    ):
        length = len(pattern.encode())
        if length > MAX_PATTERN:
            raise SettingsError(
                f"what {granted.user!r} may do does not fit into a permission of RabbitMQ: "
                f"{what!r} has {length:,} bytes, and RabbitMQ 4.3 takes {MAX_PATTERN:,}; "
                "name all functions of a service at once in calls=, as in 'stock.*', "
                "or split the service"
            )
    return granted
