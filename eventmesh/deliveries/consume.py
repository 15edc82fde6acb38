"""Consumes queues: each delivery goes from the broker to a buffer, and from there to a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Broker, Delivery, Subscription
from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import task_group
from eventmesh.deliveries.buffer import Batcher, DeliveryBuffer
from eventmesh.deliveries.hand_back import HandBack
from eventmesh.deliveries.read_ahead import MAX_WORKERS, ReadAhead
from eventmesh.deliveries.trust import believing
from eventmesh.deliveries.workers import Workers
from eventmesh.engine.codecs.trust import Believe
from eventmesh.engine.spec import Batching, Stop
from eventmesh.model.topology import Queue
from eventmesh.model.value import value

MAX_BATCH_PREFETCH: Final = 2000
"""Deliveries that one consumer of batches holds at most, unless one batch alone is larger."""


@value
class ConsumerSpec:
    """A queue, and what handles its deliveries, `workers` of them at once.

    With `finish`, what has been delivered is handled also after the intake has stopped, and not
    handed back. `believe` is from `believe_for`. A `handle` that is cancelled leaves its delivery
    unsettled: `hand_back` gets it. With `read_ahead` some are taken ahead while they are handled
    quickly; not for a queue where a delivery that was requeued counts as lost at once.
    """

    queue: Queue
    handle: Callable[[Delivery], Awaitable[None]]
    workers: int
    hand_back: HandBack
    finish: bool = False
    believe: Believe | None = None
    read_ahead: bool = False


@value
class BatchConsumerSpec:
    """A queue, and what handles its deliveries, a batch at a time.

    A batch that is not full is handled `batching.window` seconds after its first delivery came.
    """

    queue: Queue
    handle: Callable[[Sequence[Delivery]], Awaitable[None]]
    workers: int
    hand_back: HandBack
    batching: Batching
    finish: bool = False
    believe: Believe | None = None


@value
class _Consumed:
    """A queue that is consumed, and what is delivered from it."""

    spec: ConsumerSpec | BatchConsumerSpec
    buffer: DeliveryBuffer
    subscription: Subscription


@asynccontextmanager
async def run_consumers(
    broker: Broker, clock: Clock, specs: Sequence[ConsumerSpec | BatchConsumerSpec]
) -> AsyncGenerator[Stop]:
    """Consume all these queues while entered. Yields a function that stops the intake.

    Stopping the intake hands back what no worker has taken. Leaving does that, and then waits for
    the workers. If that wait is cancelled, so are the workers, and what they hold is handed back.
    """
    async with AsyncExitStack() as stack:
        # Left in reverse: first the intakes are stopped and the buffers closed, then the workers
        # end, and only then the consumers, through which the workers acknowledge.
        consumers = await stack.enter_async_context(AsyncExitStack())
        tasks = await stack.enter_async_context(task_group())
        intake = await stack.enter_async_context(AsyncExitStack())
        buffers = await intake.enter_async_context(AsyncExitStack())
        subscriptions = await intake.enter_async_context(AsyncExitStack())
        for spec in specs:
            buffer = DeliveryBuffer(spec.hand_back.add)
            subscription = await consumers.enter_async_context(
                broker.consume(
                    spec.queue, believing(buffer.put, spec.believe), prefetch=_prefetch(spec)
                )
            )
            consumers.push_async_callback(spec.hand_back.flush)
            # A buffer closed with `finish` may hold some still, where its workers were cancelled.
            consumers.callback(buffer.hand_back_all)
            buffers.push_async_callback(spec.hand_back.flush)
            buffers.callback(buffer.close, finish=spec.finish)
            subscriptions.push_async_callback(subscription.stop)
            # At once: what has been delivered does not wait until all the others consume, too.
            consumed = _Consumed(spec, buffer, subscription)
            _start_workers(tasks, subscriptions, clock, consumed)
        yield intake.aclose


def _prefetch(spec: ConsumerSpec | BatchConsumerSpec) -> int:
    if isinstance(spec, ConsumerSpec):
        return spec.workers
    return max(spec.batching.size, min(spec.batching.size * spec.workers, MAX_BATCH_PREFETCH))


def _start_workers(
    tasks: asyncio.TaskGroup, intake: AsyncExitStack, clock: Clock, consumed: _Consumed
) -> None:
    spec, buffer = consumed.spec, consumed.buffer
    if isinstance(spec, BatchConsumerSpec):
        _start_batch_workers(tasks, clock, buffer, spec)
        return
    handle = spec.handle
    if spec.read_ahead and 1 < spec.workers <= MAX_WORKERS:
        name = spec.queue.name
        ahead = ReadAhead(clock, buffer, handle, spec.workers, spec.hand_back, name=name)
        intake.callback(tasks.create_task(ahead.run(consumed.subscription)).cancel)
        handle = ahead.handle
    Workers(tasks, buffer.take, handle, spec.workers, spec.hand_back.add).start()


def _start_batch_workers(
    tasks: asyncio.TaskGroup, clock: Clock, buffer: DeliveryBuffer, spec: BatchConsumerSpec
) -> None:
    hand_back = spec.hand_back.add
    batcher = Batcher(buffer, clock, spec.batching.size, spec.batching.window, hand_back)

    def hand_back_batch(batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            hand_back(delivery)

    Workers(tasks, batcher.take, spec.handle, spec.workers, hand_back_batch).start()
