"""Time limits for what RabbitMQ answers, where a test is not about them: longer than it is busy."""

import sys

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker

PACKAGE = "eventmesh.brokers.rabbitmq."
LIMITS = (
    *("AWAY_SECONDS", "CALL_SECONDS", "CONNECT_SECONDS"),
    *("DELETE_SECONDS", "DIAL_SECONDS", "LOGIN_SECONDS"),
)
PATIENCE = 60.0


@pytest.fixture
def unhurried(monkeypatch):
    """Have all brokers of this process wait for RabbitMQ as long as the tests do.

    A server that stands still for some seconds is no failure. A test of a limit sets that itself.
    """
    modules = [module for name, module in sys.modules.items() if name.startswith(PACKAGE)]
    for module in modules:
        for limit in LIMITS:
            if hasattr(module, limit):
                monkeypatch.setattr(module, limit, PATIENCE)
    defaults = RabbitBroker.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "publish_timeout", PATIENCE)
