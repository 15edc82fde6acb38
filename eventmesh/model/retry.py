"""When an asynchronous invocation that failed is tried again."""

from __future__ import annotations

import math
import random
from typing import Final, Literal

from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import is_whole

DEFAULT_MAX_AGE: Final = 6 * 3600.0

Jitter = Literal["full", "equal", "none"]


class Retry:
    """How often and when an asynchronous invocation that failed is tried again.

    `attempts` counts the first one, so 1 means no retry. The wait before attempt n + 1 is
    `initial * factor ** (n - 1)`, at most `maximum`; jitter "full" draws from zero to that wait,
    "equal" from its half to the whole, "none" takes it as it is. An invocation older than
    `max_age` is not tried again. All durations are seconds, a timedelta or a string ("30s");
    as attributes they are seconds.

    Raises DeclarationError for values that make no sense.
    """

    __slots__ = ("attempts", "factor", "initial", "jitter", "max_age", "maximum")

    def __init__(
        self,
        attempts: int = 3,
        *,
        initial: Duration = 1.0,
        factor: float = 2.0,
        maximum: Duration = 300.0,
        jitter: Jitter = "equal",
        max_age: Duration = DEFAULT_MAX_AGE,
    ) -> None:
        if not is_whole(attempts, 1):
            raise DeclarationError(
                f"Retry(attempts={attempts!r}) cannot be: it counts the first try too, so write 1 "
                "for no retry, 2 for one retry and so on"
            )
        if not 1 <= factor < math.inf:
            raise DeclarationError(
                f"Retry(factor={factor!r}): each wait is the one before times the factor: "
                "use 1 or more"
            )
        if jitter not in ("full", "equal", "none"):
            raise DeclarationError(f"Retry(jitter={jitter!r}): choose 'full', 'equal' or 'none'")
        self.attempts = attempts
        self.initial = seconds(initial, "Retry.initial")
        self.factor = float(factor)
        self.maximum = seconds(maximum, "Retry.maximum")
        self.jitter: Jitter = jitter
        self.max_age = seconds(max_age, "Retry.max_age")
        if self.maximum < self.initial:
            raise DeclarationError(
                f"Retry(initial={initial!r}, maximum={maximum!r}): the first wait is over the "
                "maximum; raise maximum or lower initial"
            )

    def delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed."""
        try:
            wait = min(self.initial * self.factor ** (attempt - 1), self.maximum)
        except OverflowError:
            wait = self.maximum if self.initial else 0.0
        if self.jitter == "full":
            return random.uniform(0, wait)
        if self.jitter == "equal":
            return random.uniform(wait / 2, wait)
        return wait

    def __repr__(self) -> str:
        return (
            f"Retry(attempts={self.attempts}, initial={self.initial:g}, factor={self.factor:g}, "
            f"maximum={self.maximum:g}, jitter={self.jitter!r}, max_age={self.max_age:g})"
        )
