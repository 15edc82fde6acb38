"""What leases and slots share: work beside a block, and noticing what ends a consumer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, cast

from aiormq.abc import AbstractChannel
from pamqp import commands


@asynccontextmanager
async def alongside(work: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """Run `work` while entered; it is cancelled on leaving.

    What the block raises comes out as it is: a task group alone would put it into a group.
    """
    raised: BaseException | None = None
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(work)
        try:
            yield
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 it is raised below
            raised = error
        finally:
            working.cancel()
    if raised is not None:
        raise raised


def watch(channel: AbstractChannel, on_end: Callable[[str], None]) -> None:
    """Call `on_end`, with the reason, when the channel ends or the broker cancels a consumer.

    That happens when the connection is lost, an operator closes something, the queue is deleted
    or moved, or a delivery stays unanswered for too long. It may be called more than once.
    """

    def on_closed(closing: asyncio.Future[Any]) -> None:
        reason = "" if closing.cancelled() else str(closing.exception() or "")
        on_end(f"its channel was closed ({reason or 'with its connection'})")

    def on_cancelled(cancel: commands.Basic.Cancel | commands.Basic.CancelOk) -> None:
        del cancel
        on_end("RabbitMQ cancelled its consumer: the queue was deleted or moved")

    # aiormq does not say what this future is of.
    cast(Any, channel).closing.add_done_callback(on_closed)
    channel.on_consumer_cancel_callbacks.add(on_cancelled)
