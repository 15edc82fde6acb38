"""The right to run a request, of which its idempotency key says that it is run once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

KeyPath: TypeAlias = str | Callable[[Any], object]
"""Where an idempotency key is in a payload: names with dots between, or what returns it."""


class Pending(Protocol):
    """The transaction of a run, which is committed with what is kept of its answer."""

    async def commit(self, record: Callable[[Any], Awaitable[bool]]) -> bool:
        """Commit, if `record`, which gets the connection, writes the answer and returns True.

        Otherwise roll back, and return False. Raises StoreUnavailable.
        """
        ...

    async def roll_back(self) -> None:
        """Roll back. It raises nothing."""
        ...


class Claim(Protocol):
    """The right to run a request, which no other process has while this one renews it."""

    def adopt(self, pending: Pending) -> None:
        """Have the transaction of the run committed with the answer."""
        ...

    @property
    def adopted(self) -> bool:
        """Whether the run has had a transaction, which is not committed yet."""
        ...

    async def finish(self, answer: bytes) -> bool:
        """Keep the answer, and commit the transaction of the run with it.

        Returns False where another process has taken the request over, because this one seemed
        dead: then nothing was committed. Raises StoreUnavailable.
        """
        ...

    async def roll_back(self) -> None:
        """Roll the transaction of the run back, if it has had one. It raises nothing."""
        ...

    async def release(self) -> None:
        """Let the next one run the request, and roll back. It raises nothing."""
        ...
