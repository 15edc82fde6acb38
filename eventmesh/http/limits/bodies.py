"""How much memory the bodies of requests take."""

from __future__ import annotations

from typing import Final

NODE_BYTES: Final = 128
"""Bytes of memory that one JSON value takes when it is parsed: 64 for an empty list in a list, 92
for a small object, more for a model."""

WEIGHED: Final = 16 * 1024
"""Bytes from which on a body's values are weighed: counting them costs some microseconds, and what
is made of a smaller body is small."""


class BodyBudget:
    """The bytes that all bodies in a process may have together; `held` are those that they have."""

    __slots__ = ("held", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0


class BodyHold:
    """What one body takes of a budget, from its first byte until nobody holds it any more."""

    __slots__ = ("_budget", "_holders", "_size")

    def __init__(self, budget: BodyBudget) -> None:
        """It has one holder: the request."""
        self._budget = budget
        self._holders = 1
        self._size = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes more; False, and take nothing, if there are not so many left."""
        budget = self._budget
        if budget.held + size > budget.most:
            return False
        budget.held += size
        self._size += size
        return True

    def keep(self) -> None:
        """Add a holder, which runs on when the request has ended."""
        if not self._holders:
            self._budget.held += self._size
        self._holders += 1

    def release(self) -> None:
        """Remove a holder; the last one gives all back."""
        self._holders -= 1
        if not self._holders:
            self._budget.held -= self._size
