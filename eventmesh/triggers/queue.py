"""Fires functions by the messages of a queue, one by one or in batches."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.deliveries.consume import run_consumers
from eventmesh.deliveries.inbox import build_consumer_spec
from eventmesh.engine.spec import Batching, FunctionSpec, SourceContext
from eventmesh.model.errors import DeclarationError
from eventmesh.model.topology import Queue, check_queue, dead_letters, named
from eventmesh.model.value import value

MAX_BATCH: Final = 10_000


@value
class QueueTrigger:
    """Fires the function by each message of the queue `name`, or by up to `batch` at a time.

    A batch waits at most `window` seconds for its last message. With `declare` False the queue
    belongs to another system: it must exist, and is used as it is.
    """

    name: str
    batch: int | None = None
    window: float = 0.0
    declare: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise DeclarationError(f"on.queue({self.name!r}): write the queue's name, a string")
        check_queue(self.name)
        if self.batch is not None and not (
            isinstance(self.batch, int) and 1 <= self.batch <= MAX_BATCH
        ):
            raise DeclarationError(
                f"on.queue(batch={self.batch!r}): it counts messages, 1 to {MAX_BATCH:,}"
            )
        if self.batch is None and self.window:
            raise DeclarationError(
                "on.queue(batch_window=…) has no meaning without batch: say how many messages "
                "make a batch"
            )

    @property
    def kind(self) -> str:
        return "queue"

    def describe(self) -> str:
        batch = "" if self.batch is None else f" (batches of {self.batch})"
        return f"queue {self.name}{batch}"

    def check(self, function: FunctionSpec) -> None:
        queues = [trigger for trigger in function.triggers if isinstance(trigger, QueueTrigger)]
        if sum(queue.name == self.name for queue in queues) > 1:
            raise DeclarationError(
                f"{function.full_name}: on.queue({self.name!r}) is listed twice; keep one of them"
            )
        if any((queue.batch is None) != (self.batch is None) for queue in queues):
            raise DeclarationError(
                f"{function.full_name}: one queue gives it single messages and another batches; "
                "say batch=… for all of them or for none, or write two functions"
            )
        if self.batch is None:
            return
        if function.schema.is_stream:
            raise DeclarationError(
                f"{function.full_name}: a batch cannot yield, there is no caller; return instead"
            )
        function.schema.check_batch()

    @property
    def queue(self) -> Queue:
        return named(self.name, declare=self.declare)

    @property
    def batching(self) -> Batching | None:
        return None if self.batch is None else Batching(self.batch, self.window)

    @classmethod
    @asynccontextmanager
    async def source(
        cls, bound: Sequence[tuple[FunctionSpec, QueueTrigger]], context: SourceContext
    ) -> AsyncGenerator[None]:
        for function, trigger in bound:
            queues = [trigger.queue] if trigger.declare else []
            await context.broker.declare([*queues, dead_letters(function.full_name)])
        specs = [
            build_consumer_spec(
                function, context, trigger.queue, trigger=trigger.kind, batching=trigger.batching
            )
            for function, trigger in bound
        ]
        async with run_consumers(context.broker, context.clock, specs) as stop:
            context.on_stop(stop)
            yield
