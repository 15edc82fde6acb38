"""Consumes queues: each delivery goes from the broker to a buffer, and from there to a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from eventmesh.abc import Broker, Delivery
from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import task_group
from eventmesh.deliveries.buffer import Batcher, DeliveryBuffer
from eventmesh.deliveries.hand_back import HandBack
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
    unsettled: `hand_back` gets it.
    """

    queue: Queue
    handle: Callable[[Delivery], Awaitable[None]]
    workers: int
    hand_back: HandBack
    finish: bool = False
    believe: Believe | None = None


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
        buffers: list[DeliveryBuffer] = []
        stops: list[Stop] = []
        for spec in specs:
            buffer = DeliveryBuffer(spec.hand_back.add)
            subscription = await stack.enter_async_context(
                broker.consume(
                    spec.queue, believing(buffer.put, spec.believe), prefetch=_prefetch(spec)
                )
            )
            stack.push_async_callback(spec.hand_back.flush)
            # A buffer closed with `finish` may hold some still, where its workers were cancelled.
            stack.callback(buffer.hand_back_all)
            buffers.append(buffer)
            stops.append(subscription.stop)
        tasks = await stack.enter_async_context(task_group())
        intake = await stack.enter_async_context(AsyncExitStack())
        for buffer, spec in zip(buffers, specs, strict=True):
            intake.push_async_callback(spec.hand_back.flush)
            intake.callback(buffer.close, finish=spec.finish)
            _start_workers(tasks, clock, buffer, spec)
        for stop in stops:
            intake.push_async_callback(stop)
        yield intake.aclose


def _prefetch(spec: ConsumerSpec | BatchConsumerSpec) -> int:
    if isinstance(spec, ConsumerSpec):
        return spec.workers
    return max(spec.batching.size, min(spec.batching.size * spec.workers, MAX_BATCH_PREFETCH))


def _start_workers(
    tasks: asyncio.TaskGroup,
    clock: Clock,
    buffer: DeliveryBuffer,
    spec: ConsumerSpec | BatchConsumerSpec,
) -> None:
    hand_back = spec.hand_back.add
    if isinstance(spec, ConsumerSpec):
        Workers(tasks, buffer.take, spec.handle, spec.workers, hand_back).start()
        return
    batcher = Batcher(buffer, clock, spec.batching.size, spec.batching.window, hand_back)

    def hand_back_batch(batch: Sequence[Delivery]) -> None:
        for delivery in batch:
            hand_back(delivery)

    Workers(tasks, batcher.take, spec.handle, spec.workers, hand_back_batch).start()
