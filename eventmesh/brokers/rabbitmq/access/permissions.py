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

from eventmesh.brokers.rabbitmq.access.names import REPLIES, Names, event_exchange, inlet, is_wild
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
    slots_name,
)
from eventmesh.model.value import value

NOTHING: Final = "^$"
EVERYTHING: Final = ".*"
_HEX: Final = "[0-9a-f]+"
_OWN_NAME: Final = r"[A-Za-z0-9_]+"
_ALL_OF: Final = ".*"


@value
class Rights:
    """What a service is and does, as its code declares it.

    `functions` are its own, by full name, and `broadcasts` those that get events with `broadcast`.
    `queues` are the queues of its triggers, and `foreign_queues` those that belong to another
    system. `patterns` are those of its events. `calls` and `emits` are what `Service` got, with
    the destinations of outcomes; `calls` may have "service.*" and "queue:NAME".
    """

    service: str
    functions: tuple[str, ...]
    broadcasts: tuple[str, ...] = ()
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
    """

    user: str
    configure: str
    write: str
    read: str
    patterns: str = NOTHING


def permissions(rights: Rights) -> Permissions:
    """Return the permissions of the user of a service."""
    names = Names(rights.service)
    mine = _mine(rights, names)
    inlets = [re.escape(inlet(name)) for name in _inlet_queues(rights)]
    wild = [pattern for pattern in rights.patterns if is_wild(pattern)]
    shared = [re.escape(name) for name in (names.own, PRESENCE, REPLIES)]
    subscribed = [event_exchange(each) for each in rights.patterns if not is_wild(each)]
    return Permissions(
        rights.service,
        configure=_any(mine),
        write=_any(
            [
                *mine,
                *inlets,
                *map(_called, _called_functions(rights)),
                *(re.escape(inlet(queue)) for queue in _called_queues(rights)),
                *(re.escape(event_exchange(type)) for type in rights.emits),
                *shared,
            ]
        ),
        read=_any(
            [
                *mine,
                *map(re.escape, rights.foreign_queues),
                *inlets,
                *map(re.escape, subscribed),
                *([re.escape(EVENTS)] if wild else []),
                *shared,
            ]
        ),
        patterns=_any(map(re.escape, wild)),
    )


def gateway_permissions(user: str) -> Permissions:
    """Return the permissions of a gateway: it calls every function, and redrives dead letters.

    It reads no inbox and answers no request, so that it can take nothing from a service.
    """
    names = Names(user)
    mine = [*map(_below, (names.reply_queues, names.presence_queues, f"{names.delays}."))]
    dead = re.escape(dead_letters("").name)
    inlets = re.escape(inlet("")).removesuffix(re.escape("queue.")) + ".+"
    events = f"{re.escape(event_exchange(''))}.+"
    shared = [re.escape(PRESENCE), re.escape(REPLIES)]
    return Permissions(
        user,
        configure=_any(mine),
        write=_any([*mine, inlets, events, re.escape(PRESENCE)]),
        read=_any([*mine, f"{dead}.+", *shared]),
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


def _mine(rights: Rights, names: Names) -> list[str]:
    """The queues and exchanges that belong to a service, as regular expressions.

    All belong to it alone but the list of services, which has nothing but their names.
    """
    functions = _group(map(re.escape, rights.functions))
    kinds = "(inbox|rpc|dead)"
    mine = [
        rf"{NAME_PREFIX}\.{kinds}\.{functions}",
        rf"{re.escape(slots_name(''))}{functions}\.(lease|{_HEX})",
        re.escape(lease_name(rights.service)),
        re.escape(record_name(rights.service)),
        re.escape(SERVICES),
        *map(_below, (names.reply_queues, names.presence_queues, f"{names.delays}.")),
        *map(re.escape, rights.queues),
    ]
    if rights.broadcasts:
        subscribers = _group(map(re.escape, rights.broadcasts))
        mine.append(rf"{NAME_PREFIX}\.broadcast\.{subscribers}\..+")
    return mine


def _called_functions(rights: Rights) -> list[str]:
    return [call for call in rights.calls if not call.startswith(QUEUE_SCHEME)]


def _called_queues(rights: Rights) -> list[str]:
    return [
        call.removeprefix(QUEUE_SCHEME) for call in rights.calls if call.startswith(QUEUE_SCHEME)
    ]


def _called(call: str) -> str:
    """The exchanges of a function that is called, as a regular expression."""
    if call.endswith(_ALL_OF):
        function = re.escape(call.removesuffix("*")) + _OWN_NAME
    else:
        function = re.escape(call)
    return rf"{NAME_PREFIX}\.to\.(inbox|rpc)\.{function}"


def _below(prefix: str) -> str:
    return f"{re.escape(prefix)}.+"


def _group(parts: Iterable[str]) -> str:
    return f"({'|'.join(parts) or NOTHING})"


def _any(parts: Iterable[str]) -> str:
    """A regular expression that matches what one of the parts matches as a whole.

    RabbitMQ searches for a match anywhere in a name, so that both ends are anchored.
    """
    whole = "|".join(dict.fromkeys(parts))
    # `$` also matches before a newline at the end, which a name may have.
    return rf"\A({whole})\z" if whole else NOTHING
