"""The subjects: one module each, imported only by its own processes.

`work(url)` handles what comes; `call(url)` calls, for ever, each kind that the subject has. Both
tell of it by `benchmarks.cluster.telling`. Queues are quorum queues, messages are persistent, their
publishing is confirmed, and they are acknowledged after they were handled: each as its
documentation has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Subject:
    """Its title, and the kinds that it has."""

    title: str
    kinds: tuple[str, ...]


SUBJECTS: Final[Mapping[str, Subject]] = {
    "eventmesh": Subject("eventmesh", ("asynchronous", "delayed", "retried")),
    "faststream": Subject("FastStream", ("asynchronous", "retried")),
    "celery": Subject("Celery", ("asynchronous", "delayed", "retried")),
    "taskiq": Subject("Taskiq-aio-pika", ("asynchronous", "delayed", "retried")),
}
