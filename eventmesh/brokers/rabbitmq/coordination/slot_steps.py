"""Decides what to do about the tokens of one process: pure, and without RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from eventmesh.model.value import value

SURPLUS_GRACE_SECONDS: Final = 0.005
"""How long a token that nobody here needs is kept, should somebody need it after all."""


class TokenConsumer:
    """An AMQP consumer that takes one token: it holds one, or waits for one."""

    __slots__ = ("returning", "since", "tag", "token")

    def __init__(self, tag: str = "") -> None:
        self.tag = tag
        self.token: int | None = None
        """The delivery tag of the token that it holds."""
        self.since = 0.0
        """When it got that token."""
        self.returning = False
        """Whether the token is to go back, because its turn here is over."""

    @property
    def usable(self) -> bool:
        """Whether a run may use its token."""
        return self.token is not None and not self.returning


@value
class SlotsState:
    """What the next step depends on.

    `tokens` is how many there are in the whole mesh. `surplus_since` is since when there have been
    more consumers than are needed; None if there are not.
    """

    consumers: Sequence[TokenConsumer]
    running: int
    waiting: int
    tokens: int
    now: float
    surplus_since: float | None

    @property
    def surplus(self) -> int:
        """How many consumers too many there are; below zero, how many too few.

        Each run and each waiting caller needs one, but more than there are tokens get nothing.
        """
        return len(self.consumers) - min(self.running + self.waiting, self.tokens)


@value
class Add:
    """Start one more consumer."""


@value
class Return:
    """Return the consumer's token to RabbitMQ, and let it wait for the next one."""

    consumer: TokenConsumer


@value
class Remove:
    """Cancel the consumer, and return its token to RabbitMQ if it holds one."""

    consumer: TokenConsumer


@value
class Wait:
    """Do nothing until something changes, or until that moment."""

    until: float | None


Step: TypeAlias = Add | Return | Remove | Wait


def next_step(state: SlotsState) -> Step:
    """The one thing to do now."""
    surplus = state.surplus
    returning = next((each for each in state.consumers if each.returning), None)
    if returning is not None:
        return Remove(returning) if surplus > 0 else Return(returning)
    if surplus < 0:
        return Add()
    if surplus > 0:
        return _reduce(state)
    return Wait(None)


def _reduce(state: SlotsState) -> Step:
    """Remove a consumer without a token; one with a token only after a while, the oldest first."""
    for consumer in state.consumers:
        if consumer.token is None:
            return Remove(consumer)
    since = state.now if state.surplus_since is None else state.surplus_since
    until = since + SURPLUS_GRACE_SECONDS
    if state.now < until:
        return Wait(until)
    return Remove(min(state.consumers, key=get_since))


def get_since(consumer: TokenConsumer) -> float:
    """When the consumer got its token."""
    return consumer.since
