"""One warning for an outage, and one line when it is over, whatever the order of the losses."""

import asyncio
import logging

import pytest

from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.connection_log import SAME_OUTAGE_SECONDS, ConnectionLog
from eventmesh.model.errors import AccessDenied

ADDRESS = parse_address("amqp://user:hunter2@mq/shop")
LOST = "RabbitMQ closed it: 320 CONNECTION_FORCED"
WARNING = ("WARNING", f"orders: {LOST}; trying again until it works")
CONNECTED = ("INFO", "orders: connected to amqp://mq:5672/shop")


@pytest.fixture
async def log():
    log = ConnectionLog("orders", ADDRESS)
    log.watch("publishing")
    log.watch("consuming")
    return log


@pytest.fixture
def logged(caplog):
    """What was logged for users to see, since it was last asked."""
    caplog.set_level(logging.DEBUG, "eventmesh.rabbitmq")

    def logged():
        seen = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return [line for line in seen if line[0] != "DEBUG"]

    return logged


@pytest.fixture
def connected(log, logged):
    log.log_connected("publishing", ADDRESS)
    assert logged() == []
    log.log_connected("consuming", ADDRESS)
    assert logged() == [CONNECTED]
    return log


async def test_a_start_before_the_broker(log, logged):
    for _ in range(3):
        for connection in ("publishing", "consuming"):
            log.log_lost(connection, LOST)
    assert logged() == [WARNING]
    log.log_connected("consuming", ADDRESS)
    log.log_connected("publishing", ADDRESS)
    assert logged() == [CONNECTED]


@pytest.mark.parametrize("rounds", [1, 3])
async def test_an_outage_and_its_end(connected, logged, rounds):
    for _ in range(rounds):
        connected.log_lost("consuming", LOST)
        connected.log_lost("publishing", LOST)
        connected.log_unused_lost("management", LOST)
        connected.log_lost("publishing", "amqp://mq:5672/shop cannot be reached: refused")
        connected.log_lost("consuming", "amqp://mq:5672/shop cannot be reached: refused")
        assert logged() == [WARNING]
        connected.log_connected("publishing", ADDRESS)
        connected.log_connected("consuming", ADDRESS)
        assert logged() == [CONNECTED]


async def test_a_connection_that_is_lost_first_and_not_opened_again(connected, logged):
    connected.log_unused_lost("management", LOST)
    connected.log_unused_lost("management, publishing", LOST)
    connected.log_lost("publishing", LOST)
    connected.log_lost("consuming", LOST)
    connected.log_connected("publishing", ADDRESS)
    connected.log_connected("consuming", ADDRESS)
    connected.log_unused_lost("management", LOST)
    assert logged() == [WARNING, CONNECTED]


async def test_a_later_loss_is_another_outage(connected, logged, monkeypatch):
    loop = asyncio.get_running_loop()
    connected.log_unused_lost("management", LOST)
    later = loop.time() + SAME_OUTAGE_SECONDS
    monkeypatch.setattr(loop, "time", lambda: later)
    connected.log_unused_lost("management", LOST)
    even_later = later + SAME_OUTAGE_SECONDS
    monkeypatch.setattr(loop, "time", lambda: even_later)
    connected.log_lost("publishing", LOST)
    assert logged() == [WARNING] * 3


async def test_a_login_that_is_refused_is_worth_a_warning_of_its_own(connected, logged):
    connected.log_lost("publishing", LOST)
    for connection in ("publishing", "consuming", "publishing"):
        connected.log_refused(connection, AccessDenied("the user is refused"))
    refused = ("WARNING", "orders: the user is refused; trying again until it works")
    assert logged() == [WARNING, refused]
