"""How much of a process, of the mesh, or of processes of its own one function may take."""

from __future__ import annotations

import math
import os
import re
from typing import Final, Literal, TypeAlias

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


IsolationMode: TypeAlias = Literal["process"]
PROCESS: Final = "process"

Size: TypeAlias = int | str
"""Bytes: a number, or a text such as "256M" or "1.5G" (of 1,024 each)."""

MIN_MEMORY: Final = 32 * 1024 * 1024
"""Bytes. A Python process with nothing of the user's takes about half of it."""

INIT_TIMEOUT: Final = 10.0
"""Seconds in which an instance must be ready, as on AWS Lambda
(https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html)."""

DEFAULT_IDLE_TIMEOUT: Final = 300.0
"""Seconds after which an instance that runs nothing is ended."""

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


DEFAULT_RETENTION: Final = 14 * 86400.0
"""Seconds that an execution of a durable function is kept after its end, as AWS Lambda keeps it."""


@value
class Durability:
    """How long executions of a durable function may take, and are kept after their end, in seconds.

    `execution_timeout` is None for no limit.
    """

    execution_timeout: int | None = None
    retention: float = DEFAULT_RETENTION


@value
class Isolation:
    """The instances of a function: processes that run it and nothing else.

    `instances` is how many there are at most in one process of the service, and `provisioned` how
    many of them are started with it and kept. `memory` is bytes an instance, None for no limit of
    its own. The others are ended `idle_timeout` seconds after their last run (None: never), and
    each after `max_invocations` runs (None: never).
    """

    instances: int
    memory: int | None = None
    provisioned: int = 0
    idle_timeout: float | None = DEFAULT_IDLE_TIMEOUT
    max_invocations: int | None = None

    def __post_init__(self) -> None:
        if not is_whole(self.instances, 1):
            raise DeclarationError(
                f"instances={self.instances!r}: it counts processes of one function, 1 or more"
            )
        if not is_whole(self.provisioned, 0) or self.provisioned > self.instances:
            raise DeclarationError(
                f"provisioned={self.provisioned!r}: it counts instances that are kept, from 0 to "
                f"instances={self.instances}"
            )
        if self.memory is not None and self.memory < MIN_MEMORY:
            raise DeclarationError(
                f"memory={self.memory} bytes: an instance needs {MIN_MEMORY >> 20}M at least; "
                "write a size such as '256M'"
            )
        if self.max_invocations is not None and not is_whole(self.max_invocations, 1):
            raise DeclarationError(
                f"max_invocations={self.max_invocations!r}: it counts runs of one instance, 1 or "
                "more; leave it out for no limit"
            )


def parse_size(given: Size, option: str) -> int:
    """Return bytes. Raises DeclarationError for what is no size."""
    if is_whole(given, 1):
        return int(given)
    match = _SIZE.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None:
        raise DeclarationError(
            f"{option}={given!r} is no size: write bytes, or a text such as '256M' or '1.5G'"
        )
    return int(float(match[1]) * _UNITS[match[2].upper()])


def count_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
