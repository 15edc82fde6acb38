"""What to try in order to find out whether a user of RabbitMQ has the rights of its service.

Nothing that is tried has an effect where it is allowed: what is deleted or purged has a random name
that no queue has, and what is unbound has a key with which nothing is bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from secrets import token_hex
from typing import Final, Literal, TypeAlias

from eventmesh.brokers.rabbitmq.access.names import (
    REPLIES,
    Names,
    binding_key,
    event_exchange,
    inlet,
    is_wild,
)
from eventmesh.brokers.rabbitmq.access.permissions import Rights
from eventmesh.model.topology import (
    EVENTS,
    NAME_PREFIX,
    PRESENCE,
    QUEUE_SCHEME,
    dead_letters,
    inbox,
    rpc_queue,
)
from eventmesh.model.value import value

Method: TypeAlias = Literal["declare", "consume", "publish", "subscribe", "send by name"]
Outcome: TypeAlias = Literal["allowed", "refused", "absent"]
"""`absent` is what RabbitMQ says of a name that the user may use, and that does not exist."""


@value
class Probe:
    """One thing to try: a method, the queue or exchange, and for a subscription its pattern.

    `granted` says whether the code of the service gives it that right. `shown` is what the name
    stands for, where it is a random one.
    """

    method: Method
    name: str
    granted: bool
    shown: str
    pattern: str = ""


_EVERY: Final = ".*"


def probes(rights: Rights) -> Iterator[Probe]:
    """Yield what to try as the user of a service."""
    yield from _own(rights)
    yield from _sent(rights)
    yield from _subscribed(rights)
    yield from _of_others(rights)


def _own(rights: Rights) -> Iterator[Probe]:
    random, service = token_hex(8), rights.service
    names = Names(service)
    for kind in ("inbox", "rpc", "dead", "slots", "broadcast"):
        prefix = f"{NAME_PREFIX}.{kind}.{service}."
        yield Probe("declare", prefix + random, granted=True, shown=f"{prefix}…")
        yield Probe("consume", prefix + random, granted=True, shown=f"{prefix}…")
    for prefix in (names.reply_queues, names.presence_queues, f"{names.delays}."):
        yield Probe("declare", prefix + random, granted=True, shown=f"{prefix}…")
        yield Probe("consume", prefix + random, granted=True, shown=f"{prefix}…")
    for exchange in (names.own, PRESENCE, REPLIES):
        yield Probe("publish", exchange, granted=True, shown=exchange)
    for function in rights.functions:
        for queue in (inbox(function), rpc_queue(function, 0), dead_letters(function)):
            exchange = inlet(queue.name)
            yield Probe("publish", exchange, granted=True, shown=exchange)


def _sent(rights: Rights) -> Iterator[Probe]:
    own = f"{rights.service}."
    exchanges = [inlet(queue) for queue in rights.queues]
    for call in rights.calls:
        if call.startswith(QUEUE_SCHEME):
            exchanges.append(inlet(call.removeprefix(QUEUE_SCHEME)))
        elif not call.startswith(own) and not call.endswith(_EVERY):
            exchanges += [inlet(inbox(call).name), inlet(rpc_queue(call, 0).name)]
    exchanges += [event_exchange(type) for type in rights.emits]
    for exchange in dict.fromkeys(exchanges):
        yield Probe("publish", exchange, granted=True, shown=exchange)


def _subscribed(rights: Rights) -> Iterator[Probe]:
    for pattern in rights.patterns:
        source = EVENTS if is_wild(pattern) else event_exchange(pattern)
        yield Probe("subscribe", source, granted=True, shown=source, pattern=binding_key(pattern))


def _of_others(rights: Rights) -> Iterator[Probe]:
    """What no service may do, with names that nobody has."""
    random = token_hex(8)
    other = f"x{random}.f"

    def refused(method: Method, name: str, pattern: str = "") -> Probe:
        shown = name.replace(random, "…")
        return Probe(method, name, granted=False, shown=shown, pattern=pattern)

    for kind in ("inbox", "rpc", "dead", "slots", "broadcast", "delay", "replies", "presence"):
        name = f"{NAME_PREFIX}.{kind}.{other}"
        yield refused("declare", name)
        yield refused("consume", name)
    yield refused("declare", f"x{random}")
    yield refused("consume", f"x{random}")
    for kind in ("inbox", "rpc", "dead"):
        yield refused("publish", f"{NAME_PREFIX}.to.{kind}.{other}")
        yield refused("subscribe", f"{NAME_PREFIX}.to.{kind}.{other}")
    for exchange in (
        inlet(f"x{random}"),
        event_exchange(f"x{random}"),
        Names(f"x{random}").own,
        EVENTS,
        "amq.topic",
        "amq.direct",
        "amq.fanout",
    ):
        yield refused("publish", exchange)
    yield refused("subscribe", event_exchange(f"x{random}"))
    if "#" not in map(binding_key, rights.patterns):
        yield refused("subscribe", EVENTS, "#")
    yield refused("send by name", f"x{random}")
