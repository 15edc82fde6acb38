"""The nodes of a cluster: which one the connections of a process go to, and when to another."""

import logging
import socket
import ssl
from contextlib import AsyncExitStack, ExitStack

import pytest
import trustme
from fake_rabbitmq import fake_rabbit, say
from pamqp import commands

from eventmesh.brokers.rabbitmq import endpoints as endpoints_module
from eventmesh.brokers.rabbitmq.address import Address, Host
from eventmesh.brokers.rabbitmq.amqp.handshake import connect
from eventmesh.brokers.rabbitmq.datapath.connection import ReconnectingConnection
from eventmesh.brokers.rabbitmq.endpoints import Endpoints
from eventmesh.brokers.rabbitmq.management.connection import ManagementConnection
from eventmesh.model.errors import AccessDenied, BrokerUnavailable

SECRET = "s3cr3t"
TIMES = 20
"""Processes, each with its own random order: enough for every order of two addresses to be seen."""


def cluster(*ports, host="127.0.0.1", tls=None):
    return Address(tuple(Host(host, port) for port in ports), "/", "anna", SECRET, tls)


@pytest.fixture
async def nodes():
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(fake_rabbit()) for _ in range(3)]


@pytest.fixture
async def ports(nodes):
    return [node.port for node in nodes]


@pytest.fixture
async def gone():
    """A port on which nobody listens."""
    async with fake_rabbit() as rabbit:
        pass
    return rabbit.port


@pytest.fixture
def deaf():
    """A port that answers no SYN, like a machine that is off: its backlog is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(3):
            filling = stack.enter_context(socket.socket())
            filling.setblocking(False)
            filling.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def silent(session):
    await session.wait_gone()


async def used_by(endpoints, address):
    """The port of the node that a connection comes to."""
    connection = await connect(address, "test", endpoints)
    await connection.close()
    return connection.endpoint.peer[1]


async def test_the_next_address_is_tried_at_once(nodes, gone, soon):
    address = cluster(gone, nodes[0].port)
    for _ in range(TIMES):
        assert await soon(used_by(Endpoints(address), address)) == nodes[0].port


async def test_an_address_that_answers_no_syn_costs_little(nodes, deaf, soon, monkeypatch, caplog):
    assert endpoints_module.DIAL_SECONDS <= 2
    monkeypatch.setattr(endpoints_module, "DIAL_SECONDS", 1.0)
    caplog.set_level(logging.INFO, "eventmesh.rabbitmq")
    address = cluster(deaf, nodes[0].port)
    while "(127.0.0.1) did not answer within 1 s" not in caplog.text:
        assert await soon(used_by(Endpoints(address), address)) == nodes[0].port


async def test_a_node_that_is_frozen_costs_little(nodes, soon, monkeypatch):
    assert endpoints_module.LOGIN_SECONDS <= 5
    monkeypatch.setattr(endpoints_module, "LOGIN_SECONDS", 2.0)
    async with fake_rabbit(silent) as frozen:
        address = cluster(frozen.port, nodes[0].port)
        while not frozen.sessions:
            assert await soon(used_by(Endpoints(address), address)) == nodes[0].port


async def test_a_single_address_has_the_whole_time(deaf, soon, monkeypatch):
    monkeypatch.setattr(endpoints_module, "DIAL_SECONDS", 0.0)
    monkeypatch.setattr(endpoints_module, "CONNECT_SECONDS", 0.05)
    with pytest.raises(BrokerUnavailable, match=r"did not answer within 0\.05 s"):
        await soon(connect(cluster(deaf), "test"))


async def test_processes_spread_over_the_nodes(ports, soon):
    address = cluster(*ports)
    seen = [await soon(used_by(Endpoints(address), address)) for _ in range(2 * TIMES)]
    assert set(seen) == set(ports)


async def test_all_connections_of_a_process_go_to_one_node(nodes, ports, keeping_open, soon):
    address = cluster(*ports)
    endpoints = Endpoints(address)
    links = [ReconnectingConnection(address, "test", endpoints=endpoints) for _ in range(3)]
    management = ManagementConnection(address, "test", endpoints=endpoints)
    async with keeping_open(*links):
        connections = [await soon(link.wait_connected()) for link in links]
        first = {connection.endpoint.peer[1] for connection in connections}
        await soon(management.server_properties())
        (used,) = [node for node in nodes if node.sessions]
        assert first == {used.port}
        assert len(used.sessions) == len(links) + 1
        # They follow each other to the next one, too.
        used.close()
        for session in used.sessions:
            session.cut()
        for connection in connections:
            await soon(connection.closed)
        then = {(await soon(link.wait_connected())).endpoint.peer[1] for link in links}
        assert len(then) == 1
        assert used.port not in then
        await soon(management.close())


async def test_a_process_stays_where_it_is(ports, soon):
    address = cluster(*ports)
    endpoints = Endpoints(address)
    assert len({await soon(used_by(endpoints, address)) for _ in range(TIMES)}) == 1


async def test_a_node_that_does_not_serve_is_avoided(ports, soon):
    address = cluster(*ports)
    endpoints = Endpoints(address)
    order = []
    for _ in ports:
        connection = await soon(connect(address, "test", endpoints))
        order.append(connection.endpoint.peer[1])
        endpoints.avoid(connection.endpoint)
        await connection.close()
    assert sorted(order) == sorted(ports)
    # All have failed: the one whose failure is longest ago comes first.
    assert await soon(used_by(endpoints, address)) == order[0]


async def test_silence_is_a_reason_to_avoid_a_node(nodes, ports, keeping_open, soon):
    link = ReconnectingConnection(cluster(*ports), "test")
    async with keeping_open(link):
        connection = await soon(link.wait_connected())
        connection.silent = True
        connection.fail("nothing came from RabbitMQ for 20 s")
        await soon(connection.closed)
        assert (await soon(link.wait_connected())).endpoint.peer != connection.endpoint.peer


async def test_a_node_that_cannot_prepare_a_connection_is_avoided(ports, keeping_open, soon):
    peers = []

    async def prepare(connection):
        peers.append(connection.endpoint.peer)
        if len(peers) < 3:
            raise BrokerUnavailable("it declares nothing")

    link = ReconnectingConnection(cluster(*ports), "test", prepare)
    async with keeping_open(link):
        await soon(link.wait_connected())
    assert len(set(peers)) == 3


async def test_a_refused_login_is_not_tried_elsewhere(nodes, soon):
    async def refuse(session):
        session.send(0, commands.Connection.Start(0, 9, {}, "PLAIN", "en_US"))
        await say(session, commands.Connection.StartOk)
        session.close_connection(403, "ACCESS_REFUSED")

    async with fake_rabbit(refuse) as one, fake_rabbit(refuse) as other:
        with pytest.raises(AccessDenied, match="403"):
            await soon(connect(cluster(one.port, other.port), "test"))
        assert len(one.sessions) + len(other.sessions) == 1


async def test_what_is_wrong_with_all_of_them_is_said(gone, soon):
    address = cluster(gone, gone + 1, gone + 2, gone + 3)
    with pytest.raises(BrokerUnavailable) as raised:
        await soon(connect(address, "test"))
    text = str(raised.value)
    assert text.startswith(f"no node of amqp://127.0.0.1:{gone},127.0.0.1:{gone + 1},")
    assert text.count("cannot be reached") == 3
    assert text.endswith("; and 1 more")
    assert SECRET not in text


async def test_the_log_says_which_node_was_skipped(nodes, gone, soon, caplog):
    caplog.set_level(logging.INFO, "eventmesh.rabbitmq")
    address = cluster(gone, nodes[0].port)
    for _ in range(TIMES):
        await soon(used_by(Endpoints(address), address))
    assert f"127.0.0.1:{gone}/%2F cannot be reached" in caplog.text
    assert f"so 127.0.0.1:{nodes[0].port} (127.0.0.1) is used" in caplog.text
    assert SECRET not in caplog.text


@pytest.fixture
def look_up(monkeypatch):
    """Say what names stand for."""

    real = socket.getaddrinfo

    def look_up(**names):
        def getaddrinfo(host, port, *options, **more):
            name = str(host).partition(".")[0]
            if name not in names:
                return real(host, port, *options, **more)
            if names[name] is None:
                raise socket.gaierror(-2, "Name or service not known")
            return [(2, 1, 6, "", (address, port)) for address in names[name]]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return look_up


async def test_all_addresses_of_a_name_are_tried(nodes, look_up, soon):
    look_up(mq=["127.0.0.2", "127.0.0.1", "127.0.0.3"])
    address = cluster(nodes[0].port, host="mq.example")
    for _ in range(TIMES):
        assert await soon(used_by(Endpoints(address), address)) == nodes[0].port


async def test_names_that_stand_for_nothing_are_skipped(nodes, look_up, soon):
    """In a network of containers the name of one that is stopped is unknown."""
    look_up(one=None, two=["127.0.0.1"])
    port = nodes[0].port
    address = Address((Host("one.example", port), Host("two.example", port)), "/", "a", SECRET)
    for _ in range(TIMES):
        assert await soon(used_by(Endpoints(address), address)) == port


async def test_names_of_one_address_are_tried_once(gone, look_up, soon):
    look_up(one=["127.0.0.1"], two=["127.0.0.1", "127.0.0.1"])
    address = Address((Host("one.example", gone), Host("two.example", gone)), "/", "a", SECRET)
    with pytest.raises(BrokerUnavailable) as raised:
        await soon(connect(address, "test"))
    assert str(raised.value).count("cannot be reached") == 1


async def test_each_certificate_is_for_the_host_in_the_url(look_up, soon):
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    look_up(one=["127.0.0.1"], two=["127.0.0.1"], other=["127.0.0.1"])
    async with AsyncExitStack() as stack:
        hosts = []
        for name in ("one.example", "two.example", "wrong.example"):
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            authority.issue_cert(name).configure_cert(context)
            node = await stack.enter_async_context(fake_rabbit(ssl=context))
            hosts.append(Host("other.example" if name == "wrong.example" else name, node.port))
        address = Address(tuple(hosts), "/", "anna", SECRET, trusting)
        seen = {await soon(used_by(Endpoints(address), address)) for _ in range(2 * TIMES)}
        assert seen == {hosts[0].port, hosts[1].port}
        management = ManagementConnection(address.at(hosts[1]), "test")
        assert (await soon(management.server_properties()))["product"] == "RabbitMQ"
        await soon(management.close())
        with pytest.raises(BrokerUnavailable, match=r"not valid for 'other\.example'"):
            await soon(connect(address.at(hosts[2]), "test"))
