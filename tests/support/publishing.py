"""A publisher for tests, with what it sends as tasks."""

from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.datapath.publisher import Publisher
from eventmesh.model.errors import InvocationError
from eventmesh.model.topology import to_function

ROUTE = to_function("shop.place")
TIMEOUT = 10.0
WINDOW = 3


class Shop:
    """A publisher, its link, and its sends, which are tasks until a test ends them."""

    def __init__(self, address, clock, tasks, *, timeout=TIMEOUT, window=WINDOW, count=None):
        self.link = ReconnectingConnection(address, "test", self._prepare)
        self.publisher = Publisher(self.link, clock, timeout, window, count=count)
        self._tasks = tasks

    async def _prepare(self, connection):
        await self.publisher.prepare(connection)

    def send(self, message, route=ROUTE, *, give_up=True):
        """Begin to publish; the task's result is None or the error."""
        return self._tasks.create_task(self._send(message, route, give_up))

    async def _send(self, message, route, give_up):
        try:
            return await self.publisher.publish(route, message, give_up=give_up)
        except InvocationError as error:
            return error
