"""How much of a process, and of the mesh, one function may take."""

from __future__ import annotations

import math
from typing import Final

from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

DEFAULT_TIMEOUT: Final = 30.0
DEFAULT_CONCURRENCY: Final = 100
DEFAULT_MAX_PAYLOAD: Final = 6 * 1024 * 1024
"""Bytes. The limit of a synchronous payload on AWS Lambda, and well under RabbitMQ's 16 MiB."""

DEFAULT_MAX_NODES: Final = 200_000
"""Values in one piece of JSON: some 25 MB of memory at the most."""


@value
class Limits:
    """What one function may take.

    `timeout` is seconds a run, None for no limit. `concurrency` is runs at once in one process,
    `reserved_concurrency` in the whole mesh (None: not limited there). `max_pending` is how many
    synchronous callers may wait for a permit. `max_payload` is bytes, and `max_nodes` the values in
    a payload that is JSON.
    """

    timeout: float | None = DEFAULT_TIMEOUT
    concurrency: int = DEFAULT_CONCURRENCY
    reserved_concurrency: int | None = None
    max_pending: int = DEFAULT_CONCURRENCY
    max_payload: int = DEFAULT_MAX_PAYLOAD
    max_nodes: int = DEFAULT_MAX_NODES

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise DeclarationError(
                f"timeout={self.timeout!r}: it is seconds, above 0; write None for no limit"
            )
        if not is_whole(self.concurrency, 1):
            raise DeclarationError(
                f"concurrency={self.concurrency!r}: it counts runs at once, 1 or more"
            )
        if self.reserved_concurrency is not None and not is_whole(self.reserved_concurrency, 1):
            raise DeclarationError(
                f"reserved_concurrency={self.reserved_concurrency!r}: it counts runs at once, 1 or "
                "more; leave it out for no limit across the mesh"
            )
        if not is_whole(self.max_pending, 0):
            raise DeclarationError(
                f"max_pending={self.max_pending!r}: it counts waiting callers, 0 or more"
            )
        if not is_whole(self.max_payload, 1):
            raise DeclarationError(f"max_payload={self.max_payload!r}: it is bytes, 1 or more")
        if not is_whole(self.max_nodes, 1):
            raise DeclarationError(
                f"max_nodes={self.max_nodes!r}: it counts the values in JSON, 1 or more"
            )


def is_whole(number: object, least: int) -> bool:
    """Whether it is a whole number, of at least `least`, and not a boolean."""
    return isinstance(number, int) and not isinstance(number, bool) and number >= least
