"""The Telemetry API and the Logs API: who subscribes to what, and what each is sent.

https://docs.aws.amazon.com/lambda/latest/dg/telemetry-api.html (2022-07-01) and
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-logs-api.html (2020-08-15).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, Field, ValidationError

from eventmesh.aio.clock import Clock
from eventmesh.lambdas.api.server import Answer, Reply, Request, json_answer, refusal
from eventmesh.lambdas.extensions.delivery import Destination, post
from eventmesh.lambdas.extensions.registry import Extension
from eventmesh.lambdas.log import format_time

TELEMETRY: Final = "/2022-07-01/telemetry"
LOGS: Final = "/2020-08-15/logs"

Category: TypeAlias = Literal["platform", "function", "extension"]

MAX_EARLY: Final = 1_000
MAX_EARLY_BYTES: Final = 256 * 1024
"""Events before the first subscription that are kept for it, and their bytes."""
MAX_BATCHES: Final = 2
"""So many full batches wait for a subscriber at most: what comes then is dropped, and counted."""
ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 0.1
LOCAL: Final = ("sandbox.localdomain", "sandbox", "localhost", "127.0.0.1")
"""Names that an instance has for itself, on AWS and here."""

_LOGS_TYPES: Final = frozenset(
    f"platform.{name}"
    for name in ("start", "end", "report", "runtimeDone", "extension", "logsSubscription")
) | {"platform.logsDropped"}
_OVERFLOW: Final = (
    "Consumer seems to have fallen behind as it has not acknowledged receipt of logs."
)


class _Buffering(BaseModel):
    """Within AWS's limits."""

    maxItems: Annotated[int, Field(ge=1000, le=10_000)] = 10_000  # noqa: N815 as AWS names it
    maxBytes: Annotated[int, Field(ge=262_144, le=1_048_576)] = 262_144  # noqa: N815
    timeoutMs: Annotated[int, Field(ge=25, le=30_000)] = 1000  # noqa: N815


class _Destination(BaseModel):
    protocol: Literal["HTTP"]
    URI: Annotated[str, Field(max_length=2000)]


class _Subscription(BaseModel):
    schemaVersion: Annotated[str, Field(max_length=20)] = ""  # noqa: N815
    types: Annotated[list[Category], Field(min_length=1, max_length=3)]
    buffering: _Buffering = _Buffering()
    destination: _Destination


class Telemetry:
    """What one instance tells its extensions of itself."""

    def __init__(
        self, clock: Clock, tasks: asyncio.TaskGroup, is_ours: Callable[[int], bool]
    ) -> None:
        """`is_ours` says whether a process of the instance listens on that port."""
        self._clock = clock
        self._tasks = tasks
        self._is_ours = is_ours
        self._subscribers: dict[str, Subscriber] = {}
        self._early: deque[tuple[Category, str, bytes]] = deque()
        self._early_bytes = 0
        self.is_open = True
        """Whether more may subscribe: while the instance starts."""

    @property
    def is_wanted(self) -> bool:
        """Whether anybody listens, or may come to."""
        return self.is_open or bool(self._subscribers)

    def answer(self, request: Request, extension: Extension | None, reply: Reply) -> None:
        """Do what a request to one of the two APIs asks for."""
        if request.method != "PUT":
            reply.send(refusal(405, "MethodNotAllowed", "subscribe with PUT"))
        elif extension is None:
            told = "it has not registered as an extension"
            reply.send(refusal(403, "Extension.UnknownExtensionIdentifier", told))
        else:
            reply.send(self._subscribe(request, extension))

    def _subscribe(self, request: Request, extension: Extension) -> Answer:
        if not self.is_open:
            told = "subscriptions are made while the function starts"
            return refusal(403, "Telemetry.SubscriptionClosed", told)
        try:
            wanted = _Subscription.model_validate_json(request.body)
            target = urlsplit(wanted.destination.URI)
            port = target.port or 80
        except (ValidationError, ValueError) as error:
            lines = str(error).splitlines()
            return refusal(400, "ValidationError", "; ".join(lines[:10])[:1000])
        if target.scheme != "http" or target.hostname not in LOCAL or not self._is_ours(port):
            told = f"listen for HTTP on {LOCAL[0]} or 127.0.0.1 before you subscribe with that port"
            return refusal(400, "ValidationError", told)
        path = target.path or "/"
        destination = Destination(port, f"{target.hostname}:{port}", path)
        logs = request.path == LOGS
        new = Subscriber(wanted, destination, self._clock, self._tasks, self._is_ours, logs=logs)
        old = self._subscribers.get(extension.id)
        self._subscribers[extension.id] = new
        if old is not None:
            old.close()
        for category, kind, line in self._early:
            new.add(category, kind, line)
        name = "platform.logsSubscription" if logs else "platform.telemetrySubscription"
        record = {"name": extension.name, "state": "Subscribed", "types": wanted.types}
        self.emit("platform", name, record)
        return json_answer(200, "OK")

    def emit(self, category: Category, kind: str, record: Any) -> None:
        """Tell of something that happens now. `record` is what JSON can carry."""
        if not self.is_wanted:
            return
        event = {"time": format_time(self._clock.now()), "type": kind, "record": record}
        line = orjson.dumps(event)
        if self.is_open and len(self._early) < MAX_EARLY:
            self._early_bytes += len(line)
            if self._early_bytes <= MAX_EARLY_BYTES:
                self._early.append((category, kind, line))
        for subscriber in self._subscribers.values():
            subscriber.add(category, kind, line)

    def complete_start(self) -> None:
        """Take note that the instance has started."""
        self.is_open = False
        self._early.clear()

    def flush(self) -> None:
        """Send what waits."""
        for subscriber in self._subscribers.values():
            subscriber.flush()

    def close(self) -> None:
        """Drop what waits: the instance has ended."""
        for subscriber in self._subscribers.values():
            subscriber.close()


class Subscriber:
    """Batches of events for one extension: one is sent at a time."""

    def __init__(
        self,
        wanted: _Subscription,
        destination: Destination,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        is_ours: Callable[[int], bool],
        *,
        logs: bool,
    ) -> None:
        self._types = frozenset(wanted.types)
        self._limits = wanted.buffering
        self._destination = destination
        self._clock = clock
        self._tasks = tasks
        self._is_ours = is_ours
        self._logs = logs
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped: list[int] = [0, 0]
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def add(self, category: Category, kind: str, line: bytes) -> None:
        """Add an event, if it is wanted; drop it if too much waits."""
        if self._closed or category not in self._types:
            return
        if category == "platform" and not self._has(kind):
            return
        limits = self._limits
        too_many = len(self._lines) >= MAX_BATCHES * limits.maxItems
        if too_many or self._bytes + len(line) > MAX_BATCHES * limits.maxBytes:
            self._dropped[0] += 1
            self._dropped[1] += len(line)
            return
        self._lines.append(line)
        self._bytes += len(line)
        if len(self._lines) >= limits.maxItems or self._bytes >= limits.maxBytes:
            self.flush()
        elif self._timer is None:
            self._timer = self._clock.call_later(limits.timeoutMs / 1000, self.flush)

    def _has(self, kind: str) -> bool:
        """Whether the API that was subscribed to has events of that type."""
        if self._logs:
            return kind in _LOGS_TYPES
        return kind not in ("platform.end", "platform.logsSubscription")

    def flush(self) -> None:
        """Send what waits, unless that is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (self._lines or self._dropped[0]) and self._task is None and not self._closed:
            self._task = self._tasks.create_task(self._send_all())
            self._task.add_done_callback(self._sent)

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _sent(self, _: asyncio.Task[None]) -> None:
        self._task = None

    async def _send_all(self) -> None:
        """Send batches until less than a full one is left, that came meanwhile."""
        while self._lines or self._dropped[0]:
            batch = self._take_batch()
            if not await self._send(batch):
                self._dropped[0] += len(batch)
                self._dropped[1] += sum(map(len, batch))
                return

    def _take_batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        while self._lines and len(batch) < self._limits.maxItems:
            if batch and size + len(self._lines[0]) > self._limits.maxBytes:
                break
            line = self._lines.popleft()
            self._bytes -= len(line)
            size += len(line)
            batch.append(line)
        if self._dropped[0]:
            records, dropped = self._dropped
            self._dropped = [0, 0]
            record = {"droppedRecords": records, "droppedBytes": dropped, "reason": _OVERFLOW}
            event = {
                "time": format_time(self._clock.now()),
                "type": "platform.logsDropped",
                "record": record,
            }
            batch.append(orjson.dumps(event))
        return batch

    async def _send(self, batch: Sequence[bytes]) -> bool:
        body = b"[" + b",".join(batch) + b"]"
        for attempt in range(ATTEMPTS):
            if attempt:
                await asyncio.sleep(RETRY_SECONDS)
            # Whoever listens there now may be another process than when it was subscribed.
            here = self._is_ours(self._destination.port)
            if here and await post(self._destination, body):
                return True
        return False
