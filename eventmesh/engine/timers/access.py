"""What may be asked about timers, and done with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.value import value

MAX_TOLD: Final = 500
"""Timers of one service that are told at once."""


@value
class TimerReport:
    """What is told of a timer. Times are in seconds since the epoch.

    `schedule` names it among the timers of its `function`, such as "every 10 s". `next` are the
    moments for which it fires next, and `last` those for which it has fired, both the nearest
    first. `paused` says since when it does not fire, None if it does. `jitter` is in seconds.
    """

    function: str
    kind: str
    schedule: str
    catch_up: str
    jitter: float
    next: tuple[float, ...] = ()
    last: tuple[float, ...] = ()
    paused: float | None = None


@value
class ListedTimers:
    """Timers in the order of their functions, and why those of which services are not told."""

    timers: Sequence[TimerReport]
    incomplete: Sequence[str] = ()


class TimerAccess(Protocol):
    """The timers of a mesh.

    `function` is the one that they fire, and `schedule` says which of them, where it has several.
    All raise AccessDenied and BrokerUnavailable, and FunctionNotFound where no process fires the
    timers of the service now, or there is no such timer.
    """

    async def list(self) -> ListedTimers:
        """Return the timers of all services that run."""
        ...

    async def run(self, function: str, schedule: str = "") -> TimerReport:
        """Fire a timer once, now, also a paused one: its other moments stay as they are.

        Raises PayloadInvalid if the function has several and none is named.
        """
        ...

    async def pause(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        """Have the timers fire no more until they are resumed, whichever process fires them.

        What has been fired runs. What is paused already stays paused since then.
        """
        ...

    async def resume(self, function: str, schedule: str = "") -> Sequence[TimerReport]:
        """Have the timers fire again, from their next moment on.

        Moments that passed meanwhile do not fire, whatever their `catch_up`.
        """
        ...


def no_timer(function: str, schedule: str = "") -> FunctionNotFound:
    """Return what to raise for a timer that is not there."""
    name = f"timer {schedule!r} of {function}" if schedule else f"timer of {function}"
    return FunctionNotFound(name, "'eventmesh timers list' shows those that there are")


def not_fired(service: str) -> FunctionNotFound:
    """Return what to raise where no process fires the timers of a service."""
    return FunctionNotFound(
        f"timers of {service}",
        "no process fires them now: it has none, does not run, has an older version, or its next "
        "replica is about to take over; try again in some seconds",
    )
