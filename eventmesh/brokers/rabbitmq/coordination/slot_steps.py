"""Decides the next step with the tokens of one process, purely and without RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from eventmesh.model.value import value

SURPLUS_GRACE_SECONDS: Final = 0.005
"""Seconds for which an unneeded token is kept, because the next run may need it."""


class TokenConsumer:
    """An AMQP consumer that holds one token, or waits for one."""

    __slots__ = ("probe", "returning", "since", "tag", "token")

    def __init__(self, tag: str = "") -> None:
        self.tag = tag
        self.token: int | None = None
        """The delivery tag of the token that it holds."""
        self.probe: int | None = None
        """The delivery tag of a probe that it keeps in place of a token; see `recount`."""
        self.since = 0.0
        """The time at which it got that token."""
        self.returning = False
        """Whether to return the token, because this process has used it for its turn."""

    @property
    def usable(self) -> bool:
        """Whether a run may use its token."""
        return self.token is not None and not self.returning


@value
class SlotsState:
    """The state from which the next step follows.

    `tokens` is the number of tokens in the whole mesh. `surplus_since` is the time since which
    there are more consumers than needed; None if there are not.
    """

    consumers: Sequence[TokenConsumer]
    running: int
    waiting: int
    tokens: int
    now: float
    surplus_since: float | None

    @property
    def surplus(self) -> int:
        """The number of consumers too many; below zero, the number of missing ones.

        Each run and each waiting caller needs one, but no more consumers than tokens are useful.
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
    """Do nothing until the state changes, or until that time."""

    until: float | None


Step: TypeAlias = Add | Return | Remove | Wait


def next_step(state: SlotsState) -> Step:
    """Return the one step to take now."""
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
    """Remove a consumer without a token at once; one with a token after a grace, oldest first."""
    for consumer in state.consumers:
        if consumer.token is None:
            return Remove(consumer)
    since = state.now if state.surplus_since is None else state.surplus_since
    until = since + SURPLUS_GRACE_SECONDS
    if state.now < until:
        return Wait(until)
    return Remove(min(state.consumers, key=get_since))


def get_since(consumer: TokenConsumer) -> float:
    """Return the time at which the consumer got its token."""
    return consumer.since
