"""The choice of a broker, and a broker of another package that is chosen everywhere."""

import pytest

from eventmesh import Client, Service, SettingsError
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.registry import (
    check_registered,
    check_shared,
    find_adapter,
    is_registered,
    open_broker,
)
from eventmesh.doctor.inspect import inspect_mesh
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.plugins import BROKERS

OUTSIDE = '''
"""A broker of another package: one for all who open the same URL."""

from contextlib import asynccontextmanager

from eventmesh.brokers.memory import MemoryBroker
from eventmesh.model.broker import BrokerCommands, BrokerInfo, LostMessages, QueueInfo

COMMANDS = BrokerCommands("outside delete", "outside purge", "outside consumers")


class SharedBroker(MemoryBroker):
    users = 0

    async def __aenter__(self):
        self.users += 1
        return self if self.users > 1 else await super().__aenter__()

    async def __aexit__(self, *error):
        self.users -= 1
        if not self.users:
            await super().__aexit__(*error)


class Inspector:
    def __init__(self, broker):
        self.broker = broker

    async def server(self):
        return BrokerInfo("Outside", "1.0", "one", (), True, "1.0", COMMANDS)

    async def describe(self, queue):
        return QueueInfo(await self.broker.depth(queue), 1, None)

    async def lost(self):
        return LostMessages("outside.lost", 0)


class Adapter:
    shared = True

    def __init__(self):
        self.brokers = {}

    def open(self, url, name, *, connect_timeout):
        return self.brokers.setdefault(url, SharedBroker())

    @asynccontextmanager
    async def inspect(self, url, name):
        yield Inspector(self.brokers[url])


ADAPTER = Adapter()
'''

URL = "outside://user:hunter2@mq.example:1/mesh"


@pytest.mark.parametrize(
    ("url", "kind"), [("memory://", MemoryBroker), ("amqp://mq/shop", RabbitBroker)]
)
async def test_the_scheme_of_a_url_decides(url, kind):
    assert isinstance(open_broker(url, "test"), kind)
    check_registered(url)


@pytest.mark.parametrize("url", ["redis://:hunter2@localhost", "http://127.0.0.1:8080", "mq"])
def test_an_unknown_scheme_is_refused_with_advice(url):
    for refuse in (check_registered, find_adapter, check_shared):
        with pytest.raises(SettingsError, match=r"must be memory:// or amqp://USER.*") as caught:
            refuse(url)
        assert "hunter2" not in str(caught.value)
        assert BROKERS in str(caught.value)


def test_the_embedded_broker_has_no_mesh_to_show():
    with pytest.raises(SettingsError, match="no other processes to ask"):
        check_shared("memory://")
    with pytest.raises(SettingsError, match="cannot be inspected"):
        find_adapter("memory://").inspect("memory://", "test")


def test_the_embedded_broker_has_no_other_address():
    with pytest.raises(SettingsError, match="nothing behind it"):
        open_broker("memory://elsewhere", "test")


def test_a_registered_broker_is_not_imported_before_it_is_used(install):
    install(
        "outside_broker",
        "raise ImportError('no library')",
        f"{BROKERS}: outside = outside_broker:A",
    )
    assert is_registered("outside")
    check_registered(URL)
    with pytest.raises(SettingsError, match=r"outside://.*outside_broker:A.*no library"):
        open_broker(URL, "test")


async def test_a_broker_of_another_package_is_chosen_everywhere(install):
    install("outside_mesh", OUTSIDE, f"{BROKERS}: outside = outside_mesh:ADAPTER")
    settings = Settings.from_environment({"EVENTMESH_BROKER": URL})
    assert settings.mesh == URL
    app = Service("far")

    @app.function
    async def double(number: int) -> int:
        return 2 * number

    async with (
        open_broker(settings.broker, "test") as broker,
        host_services([app], broker, settings, http=None),
        Client(settings.mesh) as client,
    ):
        assert await client.invoke(double, {"number": 21}) == 42
        findings = (await inspect_mesh(settings.mesh, [app], 0.0)).findings
    assert [finding.subject for finding in findings[:3]] == ["broker", "alarms", "outside.lost"]
    assert findings[0].what.startswith("Outside 1.0")
