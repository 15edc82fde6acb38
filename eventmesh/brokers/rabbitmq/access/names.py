"""The names of the restricted topology, in which RabbitMQ's permissions decide who may do what.

A permission of RabbitMQ is a regular expression over names of exchanges and queues
(https://www.rabbitmq.com/docs/access-control). Who may write to the default exchange reaches every
queue, and a topic permission does not see the keys in the headers CC and BCC, nor the key under
which a queue dead-letters. So each queue has an exchange of its own here, a fanout, whose name
decides and to which keys mean nothing.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final

from eventmesh.model.topology import (
    EVENTS,
    NAME_PREFIX,
    PRESENCE,
    Queue,
    Route,
    inbox,
    record_name,
)
from eventmesh.model.value import value

REPLIES: Final = f"{NAME_PREFIX}.replies"
"""The direct exchange of replies; a key is random, and known only to who is asked."""

INLETS: Final = f"{NAME_PREFIX}.to."
"""What the names of the exchanges begin with that lead to one queue each."""

_OURS: Final = f"{NAME_PREFIX}."
_NAMED: Final = "queue."
_PRESENCE_QUEUE: Final = f"{PRESENCE}."


def inlet(queue: str) -> str:
    """Return the exchange whose messages go to that queue and to no other."""
    kind = queue.removeprefix(_OURS) if queue.startswith(_OURS) else f"{_NAMED}{queue}"
    return f"{INLETS}{kind}"


def inlet_queue(exchange: str) -> str:
    """Return the queue of the exchange that `inlet` made of its name."""
    kind = exchange.removeprefix(INLETS)
    named = kind.removeprefix(_NAMED)
    return named if named != kind else f"{_OURS}{kind}"


def event_exchange(type: str) -> str:
    """Return the exchange of the events of one type."""
    return f"{NAME_PREFIX}.event.{type}"


EVENT_EXCHANGES: Final = event_exchange("")


@value
class Names:
    """The names that belong to the service whose user is `user`."""

    user: str

    @property
    def own(self) -> str:
        """The direct exchange for its leases and slots; the key is the name of a queue."""
        return f"{NAME_PREFIX}.own.{self.user}"

    @property
    def delays(self) -> str:
        """What the names of its delay ladder begin with."""
        return f"{NAME_PREFIX}.delay.{self.user}"

    def is_own_inbox(self, queue: str) -> bool:
        """Whether a queue is the inbox of one of its functions."""
        return queue.startswith(inbox(f"{self.user}.").name)

    @property
    def reply_queues(self) -> str:
        """What the names of its reply queues begin with."""
        return f"{REPLIES}.{self.user}."

    @property
    def presence_queues(self) -> str:
        """What the names of its queues of presence begin with."""
        return f"{_PRESENCE_QUEUE}{self.user}."

    def queue(self, queue: Queue) -> Queue:
        """Return the queue under the name that it has here."""
        if queue.kind != "presence" or queue.name.startswith(self.presence_queues):
            return queue
        name = self.presence_queues + queue.name.removeprefix(_PRESENCE_QUEUE)
        return Queue(name, queue.kind, queue.max_length, queue.declare)

    def route(self, route: Route) -> Route:
        """Return the route to the same target here."""
        match route.exchange:
            case "":
                return Route(inlet(route.key), "", mandatory=route.mandatory, name=route.name)
            case exchange if exchange == EVENTS:
                return Route(event_exchange(route.key), route.key, mandatory=False, name=route.name)
            case _:
                return route


def owners_of(name: str, user: str, gateways: frozenset[str]) -> frozenset[str]:
    """Return the only users whose messages count for `user` in a queue of leases or slots.

    None for any. `name` is em.slots.SERVICE.… or em.timers.SERVICE, which is the service's own if
    it logs in with its name: with one account for all services RabbitMQ cannot tell them apart. In
    a record, em.record.SERVICE, those of `gateways` count as well: an operator prunes it, and
    RabbitMQ lets no gateway write there.
    """
    if user not in name.split(".")[2:3]:
        return frozenset()
    return gateways | {user} if name == record_name(user) else frozenset((user,))


def is_wild(pattern: str) -> bool:
    """Whether a pattern of events has wildcards."""
    return not _WILDCARDS.isdisjoint(pattern.split("."))


def binding_key(pattern: str) -> str:
    """Return the shortest binding key that matches the same events as an event pattern.

    A run of wildcards becomes its `*`, then one `#` if it has any. From 4.3 on RabbitMQ refuses a
    key with more than two `#`; this leaves only those with words between them.
    """
    words: list[str] = []
    for wild, run in groupby(pattern.split("."), key=_WILDCARDS.__contains__):
        run_of_words = list(run)
        if wild and "#" in run_of_words:
            run_of_words = [word for word in run_of_words if word == "*"] + ["#"]
        words += run_of_words
    return ".".join(words)


_WILDCARDS: Final = frozenset(("*", "#"))
