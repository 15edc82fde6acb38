"""Fires functions by events: publish and subscribe."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, run_consumers
from eventmesh.deliveries.inbox import build_consumer_spec
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.model.errors import DeclarationError
from eventmesh.model.event import check_pattern
from eventmesh.model.topology import Binding, Queue, broadcast, dead_letters, inbox
from eventmesh.model.value import value


@value
class EventTrigger:
    """Fires the function by each event whose type fits one of the patterns.

    Each function gets its own copy, which its replicas share; with `broadcast` each instance gets
    one, as long as it runs. Without `starts` it begins no execution of a durable function: those
    that wait for the event get it.
    """

    patterns: tuple[str, ...]
    broadcast: bool = False
    starts: bool = True

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
        note = " (broadcast)" if self.broadcast else "" if self.starts else " (waited for)"
        return f"event {', '.join(self.patterns)}{note}"

    def check(self, function: FunctionSpec) -> None:
        """Accept any function that takes the event's data as its payload.

        Only a durable function waits for events, of which its replicas share one copy.
        """
        if self.starts or (function.durability is not None and not self.broadcast):
            return
        raise DeclarationError(
            f"{function.full_name}: on.event(…, starts=False) is for the events that a durable "
            "function waits for: declare it with durable=True, and without broadcast=True"
        )

    @classmethod
    @asynccontextmanager
    async def source(
        cls, bound: Sequence[tuple[FunctionSpec, EventTrigger]], context: SourceContext
    ) -> AsyncGenerator[None]:
        broadcasts: dict[str, ConsumerSpec | BatchConsumerSpec] = {}
        for function, trigger in bound:
            # The shared copy goes to the function's inbox, which is consumed anyway.
            name = function.full_name
            if trigger.broadcast and name not in broadcasts:
                queue = broadcast(name, context.instance)
                # A retry is for this instance alone, like the event that it repeats.
                broadcasts[name] = build_consumer_spec(function, context, queue, retry_to=queue)
        async with run_consumers(context.broker, context.clock, list(broadcasts.values())) as stop:
            context.on_stop(stop)
            yield


async def declare_subscriptions(functions: Sequence[FunctionSpec], context: SourceContext) -> None:
    """Subscribe functions to their events, before anything runs that may emit some.

    What is emitted while nobody has subscribed to it is kept for nobody.
    """
    queues: list[Queue] = []
    bindings: list[Binding] = []
    for function in functions:
        name = function.full_name
        for trigger in function.triggers:
            if isinstance(trigger, EventTrigger):
                queue = broadcast(name, context.instance) if trigger.broadcast else inbox(name)
                queues += (queue, dead_letters(name))
                bindings += (Binding(queue, pattern) for pattern in trigger.patterns)
    # All at once: a process of many functions waits for hundreds of answers less.
    if queues:
        await context.broker.declare(queues, bindings)
