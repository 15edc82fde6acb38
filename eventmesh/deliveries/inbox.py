"""Consumes what runs asynchronously: the inboxes of functions, and queues like them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from eventmesh.deliveries.batch import BatchDeliveryHandler
from eventmesh.deliveries.consume import BatchConsumerSpec, ConsumerSpec, run_consumers
from eventmesh.deliveries.hand_back import HandBack, Renewal
from eventmesh.deliveries.settlement_writer import SettlementWriter
from eventmesh.deliveries.single import AsyncDeliveryHandler
from eventmesh.engine.codecs.trust import believe_for
from eventmesh.engine.spec import Batching, FunctionSpec, SourceContext
from eventmesh.model.topology import Queue, dead_letters, inbox


@asynccontextmanager
async def consume_inboxes(
    functions: Sequence[FunctionSpec], context: SourceContext
) -> AsyncGenerator[None]:
    """Run what is in the inboxes of these functions while entered."""
    names = [function.full_name for function in functions]
    queues = [queue for name in names for queue in (inbox(name), dead_letters(name))]
    if queues:
        await context.broker.declare(queues)
    specs = [
        # The failed items of a batch are stored in the inbox, and are items of a batch again.
        build_consumer_spec(
            function, context, inbox(function.full_name), batching=function.batching
        )
        for function in functions
    ]
    async with run_consumers(context.broker, context.clock, specs) as stop:
        context.on_stop(stop)
        yield


def build_consumer_spec(
    function: FunctionSpec,
    context: SourceContext,
    queue: Queue,
    *,
    trigger: str | None = None,
    retry_to: Queue | None = None,
    batching: Batching | None = None,
) -> ConsumerSpec | BatchConsumerSpec:
    """Return how `queue` is consumed to run `function`: delivery by delivery, or in batches.

    `trigger` replaces what the messages say. It is given for named queues only, whose messages
    count their age from the first run. Retries go to the function's inbox unless `retry_to` names
    another queue.
    """
    writer = SettlementWriter(
        function, context, trigger=trigger, retry_to=retry_to, counted=queue.declare
    )
    renewal = None if queue.kind == "broadcast" else Renewal(writer.retry_to, writer.renew)
    hand_back = HandBack(context.broker, context.clock, renewal)
    single = AsyncDeliveryHandler(function, context, writer, hand_back, trigger=trigger)
    believe = believe_for(context.settings, function.service)
    if batching is None:
        return ConsumerSpec(
            queue,
            single.handle,
            function.local_concurrency,
            hand_back,
            believe=believe,
            # Others' queues may be classic: what is requeued there cannot be told from a loss.
            read_ahead=queue.kind != "broadcast" and queue.declare,
        )
    handler = BatchDeliveryHandler(
        function, context, writer, single.handle, hand_back, trigger=trigger
    )
    return BatchConsumerSpec(
        queue, handler.handle, function.local_concurrency, hand_back, batching, believe=believe
    )
