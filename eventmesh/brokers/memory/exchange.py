"""The topic exchange of the embedded broker: which queues get a copy of an event."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from eventmesh.brokers.memory.queue import MemoryQueue
from eventmesh.model.event import matches

MAX_CACHED_TYPES: Final = 4096
"""Types whose queues are remembered. Senders make up types: there is no end to them."""


class TopicExchange:
    """`route(type)` is the queues that get an event of that type.

    Each is there once, however many of its patterns fit. The answer is remembered until a binding
    changes.
    """

    __slots__ = ("_patterns", "route")

    def __init__(self) -> None:
        self._patterns: dict[MemoryQueue, set[str]] = {}
        self.route = lru_cache(MAX_CACHED_TYPES)(self._find)

    def bind(self, queue: MemoryQueue, pattern: str) -> None:
        self._patterns.setdefault(queue, set()).add(pattern)
        self.route.cache_clear()

    def unbind(self, queue: MemoryQueue, pattern: str) -> None:
        self._patterns.get(queue, set()).discard(pattern)
        self.route.cache_clear()

    def remove(self, queue: MemoryQueue) -> None:
        self._patterns.pop(queue, None)
        self.route.cache_clear()

    def _find(self, type: str) -> tuple[MemoryQueue, ...]:
        return tuple(
            queue
            for queue, patterns in self._patterns.items()
            if any(matches(pattern, type) for pattern in patterns)
        )
