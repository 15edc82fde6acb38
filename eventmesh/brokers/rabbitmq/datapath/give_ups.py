"""Notices what the broker does not confirm, and what is to blame: the channel or the node."""

from __future__ import annotations

from typing import Final

from eventmesh.aio.clock import Clock
from eventmesh.brokers.rabbitmq.amqp.channel import Channel

STUCK_SECONDS: Final = 30.0
"""For as long a part of the window may be lost to messages that nobody waits for any more."""

IN_ROW: Final = 5
"""Messages given up without a confirm in between that mean that the node is cut off."""

LEAVE_SECONDS: Final = 60.0
"""At least so long between two nodes left: perhaps it was the queues, and not the node."""

_LOOK_SECONDS: Final = 1.0
"""At least so long between two counts, each of which looks at the whole window."""


class GiveUps:
    """Counts the messages of a channel whose publishers waited in vain for their confirms."""

    def __init__(self, clock: Clock, bound: int) -> None:
        """`bound` is how many of them are too many."""
        self._clock = clock
        self._bound = bound
        self._answered: tuple[Channel | None, int] = (None, 0)
        self._in_row = 0
        self._at_most = 0
        """How many may be given up on the channel; some of them may be confirmed by now."""
        self._left = float("-inf")
        self._looked = float("-inf")
        self._stuck_since: float | None = None

    def add(self, channel: Channel) -> None:
        """Count one more."""
        answered = (channel, channel.confirms.answered)
        if self._answered[0] is not channel:
            self._at_most = 0
        self._in_row = self._in_row + 1 if answered == self._answered else 1
        self._at_most += 1
        self._answered = answered

    def is_cut_off(self) -> bool:
        """Return whether the node of the channel seems to be cut off from the others.

        In the minority of a partition a node takes messages and cannot store them, for as long as
        its connections last.
        """
        now = self._clock.monotonic()
        if self._in_row < IN_ROW or now - self._left < LEAVE_SECONDS:
            return False
        self._left = now
        return True

    def is_stuck(self, channel: Channel) -> bool:
        """Return whether too many have been given up on the channel for too long."""
        now = self._clock.monotonic()
        if self._at_most < self._bound or now - self._looked < _LOOK_SECONDS:
            return False
        self._looked = now
        self._at_most = channel.confirms.count_abandoned()
        if self._at_most < self._bound:
            self._stuck_since = None
            return False
        if self._stuck_since is None:
            self._stuck_since = now
        if now - self._stuck_since < STUCK_SECONDS:
            return False
        self._stuck_since = None
        return True
