"""The embedded broker, with a record of the messages that it carries."""

from __future__ import annotations

from eventmesh.aio.clock import Clock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.message import Message
from eventmesh.model.topology import Route
from eventmesh.testing.activity import Activity
from eventmesh.testing.records import History


class RecordingBroker(MemoryBroker):
    """Records its messages in `history`, and runs that wait for a result in `activity`."""

    def __init__(self, clock: Clock, activity: Activity, history: History) -> None:
        super().__init__(clock)
        self._now = clock.now
        self._activity = activity
        self._history = history

    async def publish(
        self, route: Route, message: Message, *, delay: float = 0.0, give_up: bool = True
    ) -> None:
        await super().publish(route, message, delay=delay, give_up=give_up)
        self._history.record_publish(route, message, delay, self._now())

    async def request(self, route: Route, message: Message) -> Message:
        self._history.record_request(route, message, self._now())
        with self._activity.mark_waiting(route.name):
            return await super().request(route, message)
