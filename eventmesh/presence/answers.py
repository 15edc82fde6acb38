"""Whether all processes have answered, and whether they can: a broker in trouble takes nothing."""

from __future__ import annotations

from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, SystemClock, TimeLimit
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import NOBODY, Route
from eventmesh.presence.observer import Observer

ASK_SECONDS: Final = 5.0
"""Seconds to wait until all processes of a mesh were asked and had time to answer."""

_NO_QUEUE: Final = Route("", NOBODY, mandatory=False, name="nobody")


async def check_accepting(broker: Broker) -> None:
    """Raise BrokerUnavailable while the broker takes no messages: no process can answer then.

    RabbitMQ reports an alarm to a connection after that has published something, such as the
    question which processes run, so call this a moment later.
    """
    await broker.publish(_NO_QUEUE, Message(b"", new_id(), SystemClock().now()))


async def wait_for_answers(observer: Observer, broker: Broker, clock: Clock) -> None:
    """Wait until all processes were asked and had time to answer.

    Raises BrokerUnavailable if they cannot be asked within `ASK_SECONDS`.
    """
    try:
        with TimeLimit(clock, ASK_SECONDS):
            await observer.complete.wait()
    except TimeoutError:
        await check_accepting(broker)
        raise BrokerUnavailable(
            f"the processes of the mesh could not be asked within {ASK_SECONDS:g} s: try again"
        ) from None
