"""A trigger: each file that is new in a folder, or has changed there, fires the function.

The source looks into the folder once a period, and stores a message for each such file in the
function's inbox. From there on the message is like any other: it is delivered until the function
succeeds, retried by its policy, and becomes a dead letter in the end.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from eventmesh import DeclarationError, PayloadInvalid
from eventmesh.ext import (
    Duration,
    FunctionSpec,
    Invocation,
    Message,
    SourceContext,
    background_task,
    encode,
    new_id,
    seconds,
    sleep,
    to_function,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileEvent:
    """What the function gets: a file, its bytes, and when it changed (seconds since the epoch)."""

    path: str
    size: int
    modified: float


@dataclass(frozen=True)
class WatchTrigger:
    """The files in `folder` that fit `pattern`, looked at every `period` seconds."""

    folder: str
    pattern: str
    period: float

    @property
    def kind(self) -> str:
        return "watch"

    def describe(self) -> str:
        return f"watch {self.folder}/{self.pattern}"

    def check(self, function: FunctionSpec) -> None:
        """Refuse a function that does not take a file, on the line that declares it."""
        sample = encode(FileEvent("name", 0, 0.0))
        try:
            function.schema.check_payload(Invocation(function.full_name, "", sample, 0.0))
        except PayloadInvalid as error:
            raise DeclarationError(
                f"{function.full_name}: on.watch() gives it a FileEvent, which it does not take "
                f"({error}): write one parameter, 'file: FileEvent'"
            ) from None

    @classmethod
    @asynccontextmanager
    async def source(
        cls, bound: Sequence[tuple[FunctionSpec, WatchTrigger]], context: SourceContext
    ) -> AsyncGenerator[None]:
        """Watch the folders of all these functions while entered."""
        async with AsyncExitStack() as stack:
            for function, trigger in bound:
                watching = trigger.watch(function, context)
                await stack.enter_async_context(background_task(watching))
            yield

    async def watch(self, function: FunctionSpec, context: SourceContext) -> None:
        """Store a message for each file that appears or changes from now on, until cancelled."""
        known = self._scan()
        while True:
            await sleep(context.clock, self.period)
            found = self._scan()
            changed = [event for path, event in found.items() if known.get(path) != event]
            known = {path: event for path, event in found.items() if event not in changed}
            for event in changed:
                if await _store(event, function, context):
                    known[event.path] = event

    def _scan(self) -> dict[str, FileEvent]:
        events: dict[str, FileEvent] = {}
        for path in sorted(Path(self.folder).glob(self.pattern)):
            if path.is_file():
                status = path.stat()
                events[str(path)] = FileEvent(str(path), status.st_size, status.st_mtime)
        return events


async def _store(event: FileEvent, function: FunctionSpec, context: SourceContext) -> bool:
    """Whether the broker holds the message; if not, it is tried again after the next look."""
    message = Message(encode(event), new_id(), context.clock.now(), trigger="watch")
    try:
        await context.broker.publish(to_function(function.full_name), message)
    except Exception as error:  # noqa: BLE001  # whatever it is, the file stays where it is
        _log.warning("%s: %s is not stored yet: %s", function.full_name, event.path, error)
        return False
    return True


def watch(folder: str, pattern: str = "*", *, period: Duration = 1.0) -> WatchTrigger:
    """The files in `folder` whose names fit `pattern`, as `Path.glob` has it.

    The folder is looked at once a `period`, a duration. What was there when the service started
    fires nothing.
    """
    return WatchTrigger(folder, pattern, seconds(period, "period"))
