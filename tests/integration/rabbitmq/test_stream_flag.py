"""RabbitMQ 3.10 and 3.11 without the feature flag on which it depends that delays lose nothing."""

import asyncio
import logging
import time

import pytest
import pytest_asyncio
from rabbitmq_node import InstalledNode, new_node
from waiting import DEADLINE

from eventmesh.brokers.rabbitmq.broker import RabbitBroker
from eventmesh.brokers.rabbitmq.management import stream_flag
from eventmesh.brokers.rabbitmq.management.inspector import RabbitInspector
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.topology import inbox, to_queue

QUEUE = inbox("shop.place")

OTHERS = (
    "classic_mirrored_queue_version,implicit_default_bindings,maintenance_mode_status,"
    "quorum_queue,user_limits,virtual_host_metadata"
)


@pytest_asyncio.fixture
async def old_node(monkeypatch):
    """A node as an upgrade from 3.8 leaves it."""
    monkeypatch.setenv("RABBITMQ_FEATURE_FLAGS", OTHERS)
    node = new_node()
    if not isinstance(node, InstalledNode):
        pytest.skip("only an installed RabbitMQ may be as old as that")
    try:
        await asyncio.to_thread(node.launch)
        if "false" not in await node.ctl("eval", "rabbit_feature_flags:is_enabled(stream_queue)."):
            pytest.skip("from 3.12 on the flag is always enabled")
        yield node
    finally:
        node.remove()


def message():
    return Message(b"{}", new_id(), time.time())


async def test_no_delayed_message_is_sent_until_the_flag_is_enabled(old_node, monkeypatch, caplog):
    monkeypatch.setattr(stream_flag, "RECHECK_SECONDS", 0.0)
    async with RabbitBroker(old_node.url, connect_timeout=DEADLINE) as broker:
        with caplog.at_level(logging.WARNING, logger="eventmesh.rabbitmq"):
            await broker.declare([QUEUE])
        (told,) = [one for one in caplog.records if one.name == "eventmesh.rabbitmq"]
        assert told.levelno == logging.ERROR
        assert "enable_feature_flag" in told.getMessage()

        with pytest.raises(BrokerUnavailable, match="stream_queue"):
            await broker.publish(to_queue(QUEUE), message(), delay=0.1)
        await broker.publish(to_queue(QUEUE), message())
        assert await broker.depth(QUEUE) == 1

        async with RabbitInspector(old_node.url, "doctor") as inspector:
            assert "stream_queue" in (await inspector.server()).disabled

        await old_node.ctl("eval", "rabbit_feature_flags:enable(stream_queue).")
        await broker.publish(to_queue(QUEUE), message(), delay=0.1)
        async with RabbitInspector(old_node.url, "doctor") as inspector:
            assert not (await inspector.server()).disabled
