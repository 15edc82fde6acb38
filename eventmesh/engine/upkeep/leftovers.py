"""What is left at a broker of functions that no process has, for those who ask a process about it.

`eventmesh.leftovers` finds and removes it; the HTTP API and the command line use this port.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from eventmesh.model.value import value


@value
class Remains:
    """What is left of a function that no process has.

    `since` says when that was noticed, in seconds since the epoch: 0 if it was not, because its
    service does not run, or not yet. `patterns` are bound to its inbox. `waiting` and `dead` count
    its invocations and dead letters; None without such a queue.
    """

    function: str
    since: float
    patterns: tuple[str, ...]
    waiting: int | None
    dead: int | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left at the broker."""
        return self.waiting is None and self.dead is None and not self.patterns


@value
class Fate:
    """What is to become of what waits for a function that is removed.

    Its invocations are moved to the function `move_to`, or dropped with `drop`; its dead letters
    stay unless `dead_letters`. With neither, a function for which something waits is not removed.
    """

    move_to: str = ""
    drop: bool = False
    dead_letters: bool = False


@value
class Removed:
    """How many invocations were moved and dropped, and how many dead letters dropped and kept."""

    moved: int
    dropped: int
    dead: int
    dead_kept: int


class LeftoverAccess(Protocol):
    """What is left at the broker of a mesh. All may raise BrokerUnavailable and AccessDenied."""

    async def find(self, name: str = "") -> Sequence[Remains]:
        """Return what can be removed: of a function, of a service, or of all services that run.

        A service that does not run may only be stopped: it has to be named. Raises
        DeclarationError for a function that a process has, or had a moment ago, and
        FunctionNotFound for a name of which nothing is left.
        """
        ...

    async def remove(self, name: str, fate: Fate) -> Removed:
        """Remove a function: its inbox, its RPC queue, its slots, and what is told by `fate`.

        Raises DeclarationError as `find` does, if something waits and `fate` does not say what
        becomes of it, and if a queue has a consumer; FunctionNotFound and Throttled if its
        invocations cannot be stored at `fate.move_to`.
        """
        ...


class ProcessLeftovers(LeftoverAccess, Protocol):
    """The same, as a process that is asked about it has it."""

    async def functions(self) -> Collection[str]:
        """Return the functions that services have declared, also those that no process has."""
        ...
