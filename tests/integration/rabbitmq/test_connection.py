"""The connection under all this: who is let in, and what happens when it is lost."""

import asyncio
import logging

import pytest
from waiting import DEADLINE, PAUSE

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq import error_translation as faults
from eventmesh.brokers.rabbitmq.management import connection as management_connection
from eventmesh.model.errors import AccessDenied, BrokerUnavailable
from eventmesh.model.topology import inbox, named


async def test_a_wrong_password_is_told_and_not_shown(rabbitmq_url, connecting, function):
    async with connecting(rabbitmq_url.replace(":guest@", ":s3cret@")) as client:
        with pytest.raises(AccessDenied, match="guest") as raised:
            await client.management.depth(inbox(function))
    assert "s3cret" not in str(raised.value)


async def test_a_virtual_host_that_is_not_there_is_told(rabbitmq_url, connecting, function):
    async with connecting(f"{rabbitmq_url.rpartition('/')[0]}/nowhere") as client:
        with pytest.raises(AccessDenied, match="virtual host 'nowhere'"):
            await client.management.depth(inbox(function))


async def test_a_client_is_told_at_once_that_it_is_refused(rabbitmq_url, soon):
    async def enter(url):
        async with RabbitBroker(url, connect_timeout=600):
            pytest.fail("it was let in")

    with pytest.raises(AccessDenied, match="403 ACCESS_REFUSED") as raised:
        await soon(enter(rabbitmq_url.replace(":guest@", ":s3cret@")))
    assert "s3cret" not in str(raised.value)
    with pytest.raises(AccessDenied, match="vhost nowhere not found"):
        await soon(enter(f"{rabbitmq_url.rpartition('/')[0]}/nowhere"))


async def test_a_service_waits_for_its_user_to_be_created(rabbitmq, function, soon, until, caplog):
    async def enter():
        async with RabbitBroker(rabbitmq.url.replace("guest:guest", f"{function}:new")) as broker:
            await broker.declare([inbox(function)])

    async with asyncio.TaskGroup() as tasks:
        entering = tasks.create_task(enter())
        await until(lambda: caplog.text.count("403 ACCESS_REFUSED") == 1)
        await rabbitmq.ctl("add_user", function, "new")
        await until(lambda: caplog.text.count("530 NOT_ALLOWED") == 1)
        await rabbitmq.ctl("set_permissions", function, ".*", ".*", ".*")
        await soon(entering)


async def test_a_password_is_replaced_while_a_service_runs(
    rabbitmq, function, soon, until, tmp_path, caplog
):
    password = tmp_path / "password"
    password.write_text("old")
    await rabbitmq.ctl("add_user", function, "old")
    await rabbitmq.ctl("set_permissions", function, ".*", ".*", ".*")
    url = rabbitmq.url.replace("guest:guest", function)
    async with RabbitBroker(f"{url}?password_file={password}", name=function) as broker:
        await broker.declare([inbox(function)])
        await rabbitmq.ctl("change_password", function, "new")
        await rabbitmq.close_connections(function)
        # As operators do who replace the password at the broker first.
        await until(lambda: "403 ACCESS_REFUSED" in caplog.text)
        password.write_text("new")
        await until(lambda: broker.ready)
        assert await soon(broker.depth(inbox(function))) == 0


async def test_a_virtual_host_may_have_any_name(rabbitmq, connecting, function):
    await rabbitmq.ctl("add_vhost", "a/b c%")
    await rabbitmq.ctl("set_permissions", "-p", "a/b c%", "guest", ".*", ".*", ".*")
    async with connecting(f"{rabbitmq.url}a%2Fb%20c%25") as client:
        await client.management.declare([inbox(function)])
    assert inbox(function).name in await rabbitmq.queues("a/b c%")


async def test_a_broker_that_is_away_is_an_error_after_a_while(
    proxy, rabbitmq, connecting, function, monkeypatch
):
    monkeypatch.setattr(management_connection, "CONNECT_SECONDS", 1.0)
    await proxy.refuse()
    async with connecting(proxy.url(rabbitmq.url)) as client:
        async with asyncio.TaskGroup() as calls:
            for _ in range(20):
                calls.create_task(unavailable(client.management.depth(inbox(function))))
        monkeypatch.setattr(management_connection, "CONNECT_SECONDS", DEADLINE)
        await proxy.forward()
        assert await client.management.depth(inbox(function)) == 0


async def test_a_broker_that_comes_up_meanwhile_is_waited_for(
    proxy, rabbitmq, connecting, function
):
    await proxy.refuse()
    async with connecting(proxy.url(rabbitmq.url)) as client, asyncio.TaskGroup() as calls:
        call = calls.create_task(client.management.declare([inbox(function)]))
        await asyncio.sleep(0)
        await proxy.forward()
        await call


async def test_a_broker_that_does_not_answer_is_an_error_after_a_while(
    proxy, rabbitmq, connecting, function, monkeypatch
):
    async with connecting(proxy.url(rabbitmq.url)) as client:
        await client.management.declare([inbox(function)])
        proxy.stall()
        with monkeypatch.context() as hasty:
            hasty.setattr(faults, "CALL_SECONDS", 0.5)
            hasty.setattr(management_connection, "CLOSE_SECONDS", 0.5)
            for _ in range(2):
                await unavailable(client.management.depth(inbox(function)))
        await proxy.forward()
        assert await client.management.depth(inbox(function)) == 0


async def test_a_connection_that_was_closed_is_opened_again(rabbitmq, connecting, function, caplog):
    caplog.set_level(logging.WARNING, logger="eventmesh.rabbitmq")
    async with connecting(rabbitmq.url, f"{function} mine") as client:
        await client.management.declare([inbox(function)])
        assert await rabbitmq.close_connections(f"{function} mine") == 1
        await losses_reach(client, 1)
        assert await client.management.depth(inbox(function)) == 0
    assert [record for record in caplog.records if "closed by a test" in record.getMessage()]


@pytest.mark.disruptive
async def test_it_works_again_after_the_broker_was_killed(rabbitmq, connecting, function):
    async with connecting(rabbitmq.url) as client:
        await client.management.declare([inbox(function)])
        await client.publish(inbox(function).name)
        await rabbitmq.kill()
        await rabbitmq.start()
        # A quorum queue seems empty until it has chosen its leader.
        await client.depth_reaches(inbox(function), 1)
        assert await client.take(inbox(function)) == b""


@pytest.mark.disruptive
async def test_looking_into_queues_goes_on_during_an_alarm(
    rabbitmq, connecting, function, monkeypatch
):
    async with connecting(rabbitmq.url) as client:
        await client.management.declare([inbox(function)])
        await client.publish(inbox(function).name)
        await rabbitmq.raise_memory_alarm()
        # The alarm is raised a moment after the command has ended, and one more is taken then: only
        # by publishing does a connection become one that is blocked.
        with monkeypatch.context() as hasty:
            hasty.setattr(faults, "CALL_SECONDS", 1.0)
            await unavailable(publish_on(client, inbox(function).name))
        assert await client.take(inbox(function)) == b""
        await client.management.declare([named(function)])
        await rabbitmq.clear_memory_alarm()


async def test_nothing_stays_behind(rabbitmq, connecting, function):
    before = asyncio.all_tasks()
    async with connecting(rabbitmq.url, f"{function} mine") as client:
        await client.management.declare([inbox(function)])
        await client.publish(inbox(function).name)
        await client.management.get(inbox(function))
    async with asyncio.timeout(DEADLINE):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(PAUSE)
        # RabbitMQ lists a connection for a moment after both sides have closed it.
        while f"{function} mine" in await rabbitmq.ctl("list_connections", "client_properties"):
            await asyncio.sleep(PAUSE)


async def publish_on(client, queue):
    while True:
        await client.publish(queue)


async def unavailable(call):
    with pytest.raises(BrokerUnavailable):
        await call


async def losses_reach(client, losses):
    async with asyncio.timeout(DEADLINE):
        while client.management.connection_generation != losses:
            await asyncio.sleep(PAUSE)
