"""How a function is run in processes of its own."""

from __future__ import annotations

import os
import re
from typing import Final, Literal, TypeAlias

from eventmesh.model.errors import DeclarationError
from eventmesh.model.limits import is_whole
from eventmesh.model.value import value

Mode: TypeAlias = Literal["process"]
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
