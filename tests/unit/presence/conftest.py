from dataclasses import replace

import pytest
from presence_fixtures import another, broker, process

from eventmesh.model.topology import to_presence
from eventmesh.presence.instance import HEARTBEATS, HERE, INSTANCES, presence_message

__all__ = ("another", "broker", "process")


@pytest.fixture
def tell(broker, clock):
    """Publishes a presence message as a user of the broker."""

    async def tell(kind, what, sender):
        adapter = INSTANCES if kind == HERE else HEARTBEATS
        message = presence_message(kind, adapter.dump_json(what), clock.now())
        await broker.publish(to_presence(kind), replace(message, sender=sender))
        await clock.settle()

    return tell
