"""Fires functions by events: publish and subscribe."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, run_consumers
from eventmesh.deliveries.inbox import build_consumer_spec
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import check_pattern
from eventmesh.model.topology import Binding, broadcast, dead_letters, inbox
from eventmesh.model.value import value


@value
class EventTrigger:
    """Fires the function by each event whose type fits one of the patterns.

    Each function gets its own copy, which its replicas share; with `broadcast` each instance gets
    one, as long as it runs.
    """

    patterns: tuple[str, ...]
    broadcast: bool = False

    def __post_init__(self) -> None:
        if not self.patterns:
            raise DeclarationError("on.event() subscribes to nothing: name at least one pattern")
        for pattern in self.patterns:
            if not isinstance(pattern, str):
                raise DeclarationError(
                    f"on.event({pattern!r}): write patterns as strings, one argument each"
                )
            check_pattern(pattern)

    @property
    def kind(self) -> str:
        return "event"

    def describe(self) -> str:
        return f"event {', '.join(self.patterns)}" + (" (broadcast)" if self.broadcast else "")

    def check(self, function: FunctionSpec) -> None:
        """Accept any function: the event's data is its payload."""

    @classmethod
    @asynccontextmanager
    async def source(
        cls, bound: Sequence[tuple[FunctionSpec, EventTrigger]], context: SourceContext
    ) -> AsyncGenerator[None]:
        broadcasts: dict[str, ConsumerSpec | BatchConsumerSpec] = {}
        for function, trigger in bound:
            # The shared copy goes to the function's inbox, which is consumed anyway.
            name = function.full_name
            queue = broadcast(name, context.instance) if trigger.broadcast else inbox(name)
            await context.broker.declare(
                [queue, dead_letters(name)],
                [Binding(queue, pattern) for pattern in trigger.patterns],
            )
            if trigger.broadcast and name not in broadcasts:
                # A retry is for this instance alone, like the event that it repeats.
                broadcasts[name] = build_consumer_spec(function, context, queue, retry_to=queue)
        async with run_consumers(context.broker, context.clock, list(broadcasts.values())) as stop:
            context.on_stop(stop)
            yield
