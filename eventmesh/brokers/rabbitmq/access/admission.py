"""What a message says of its trigger, compared with the exchange to which it was published.

RabbitMQ tells a consumer to which exchange a message was published or dead-lettered last. In the
restricted topology only who may emit a type of event may publish to its exchange.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Final, TypeAlias

from eventmesh.brokers.rabbitmq.access.names import EVENT_EXCHANGES
from eventmesh.model.event import matches
from eventmesh.model.message import Message

Admit: TypeAlias = Callable[[Message, str], Message | None]
"""Takes a message and its exchange, and returns what is believed of it; None to drop it."""

_log: Final = logging.getLogger("eventmesh.rabbitmq")


def admission(queue: str, trusted: Collection[str], patterns: Callable[[], list[str]]) -> Admit:
    """Return what to ask about each message of a queue.

    An event has the type of its exchange, whatever it says, and is dropped if none of the queue's
    `patterns` fits: it came by a key in the header CC. What did not come through such an exchange
    is an event, or a timer's firing, only if its sender is `trusted`: the service itself, which
    retries, and gateways, which redrive dead letters.
    """

    def admit(message: Message, exchange: str) -> Message | None:
        if exchange.startswith(EVENT_EXCHANGES):
            type = exchange.removeprefix(EVENT_EXCHANGES)
            if not any(matches(pattern, type) for pattern in patterns()):
                _log.warning(
                    "an event %r of the user %r was dropped: %s does not subscribe to it",
                    type,
                    message.sender,
                    queue,
                )
                return None
            return replace(message, type=type, trigger="event")
        return _admit_call(message, trusted)

    return admit


def admit_taken(message: Message, exchange: str, queue: str, trusted: Collection[str]) -> Message:
    """Return what is believed of a message that is taken out of a queue of a function.

    An operator moves it or redrives it, and is then believed himself. Beside the `trusted` users
    the function's own service is: `queue` is em.inbox.SERVICE.… or em.dead.SERVICE.….
    """
    if exchange.startswith(EVENT_EXCHANGES):
        type = exchange.removeprefix(EVENT_EXCHANGES)
        return replace(message, type=type, trigger="event")
    return _admit_call(message, {*trusted, *queue.split(".")[2:3]})


def _admit_call(message: Message, trusted: Collection[str]) -> Message:
    if message.trigger == "invoke" or (message.sender and message.sender in trusted):
        return message
    return replace(message, type="", trigger="invoke")
