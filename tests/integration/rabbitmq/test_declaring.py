"""Declaring: what is there already, what belongs to others, and what RabbitMQ will not make."""

import asyncio
import logging

import pytest

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.brokers.rabbitmq.declarations import QueueDeclaration, queue_arguments
from eventmesh.brokers.rabbitmq.management.management import Management
from eventmesh.model.errors import AccessDenied, DeclarationError, FunctionNotFound
from eventmesh.model.topology import (
    Binding,
    Queue,
    broadcast,
    dead_letters,
    inbox,
    named,
    rpc_queue,
)


async def test_queues_are_made_with_their_arguments(rabbitmq, connecting, function):
    url = await rabbitmq.new_virtual_host()
    queues = [
        inbox(function),
        rpc_queue(function, 5),
        dead_letters(function),
        named("invoices"),
        broadcast(function, "i1"),
    ]
    async with connecting(url) as client:
        await client.management.declare(queues, [Binding(queues[0], "order.*")])
        server = await client.management.server()
    made = await rabbitmq.queues(url.rpartition("/")[2])
    for queue in queues:
        arguments = queue_arguments(queue, server)
        assert made[queue.name]["type"] == arguments["x-queue-type"]
        assert arguments_of(made[queue.name]) == arguments


def arguments_of(row):
    """The arguments of a queue, as rabbitmqctl lists them: by name, or with their types."""
    listed = row["arguments"]
    return listed if isinstance(listed, dict) else {name: value for name, _, value in listed}


async def test_declaring_again_changes_nothing(client, function):
    queue = inbox(function)
    await client.management.declare([queue], [Binding(queue, f"{function}.*")])
    await client.publish(queue.name)
    await client.management.declare([queue], [Binding(queue, f"{function}.*")])
    assert await client.management.depth(queue) == 1


async def test_a_consumer_does_not_declare_again_what_was_declared_for_it(
    rabbitmq, function, monkeypatch
):
    """A process of many functions starts later for each answer that it waits for."""
    queue, declared = inbox(function), []
    carry_out = Management.carry_out

    async def note(management, declarations):
        declared.extend(each.name for each in declarations if hasattr(each, "name"))
        await carry_out(management, declarations)

    monkeypatch.setattr(Management, "carry_out", note)
    async with RabbitBroker(rabbitmq.url, connect_timeout=60) as broker:
        await broker.declare([queue, dead_letters(function)])
        async with broker.consume(queue, lambda _: None, prefetch=1):
            assert declared.count(queue.name) == declared.count(dead_letters(function).name) == 1
        async with broker.consume(queue, lambda _: None, prefetch=1):
            assert declared.count(queue.name) == 2


async def test_a_consumer_makes_its_queue_again_that_was_deleted_before_it_began(
    rabbitmq, function, soon
):
    queue = inbox(function)
    async with RabbitBroker(rabbitmq.url, connect_timeout=60) as broker:
        await broker.declare([queue])
        await broker.delete(queue)
        consuming = broker.consume(queue, lambda _: None, prefetch=1)
        await soon(consuming.__aenter__())
        await consuming.__aexit__(None, None, None)


async def test_a_queue_with_other_arguments_is_kept_and_explained_once(client, function, caplog):
    await client.management.declare([Queue(function, "named", max_length=7)])
    await client.publish(function)
    changed = Queue(function, "named", max_length=8)
    with caplog.at_level(logging.WARNING, logger="eventmesh.rabbitmq"):
        for _ in range(2):
            await client.management.declare([changed], [Binding(changed, f"{function}.*")])

    (warning,) = [one.getMessage() for one in caplog.records if one.name == "eventmesh.rabbitmq"]
    for part in (function, "x-max-length", "'7'", "'8'", "delete", "eventmesh doctor"):
        assert part in warning
    assert await client.management.depth(changed) == 1
    await client.publish(f"{function}.x", exchange="em.events")
    assert await client.management.depth(changed) == 2


async def test_a_queue_of_another_system_is_used_as_it_is(client, function, caplog):
    theirs = QueueDeclaration(function, {"x-queue-type": "classic", "x-max-length": 3})
    await client.management.carry_out([theirs])
    with caplog.at_level(logging.WARNING, logger="eventmesh.rabbitmq"):
        await client.management.declare([named(function, declare=False)])
    assert not caplog.records


async def test_a_queue_of_another_system_has_to_be_there(client, function):
    with pytest.raises(FunctionNotFound, match="declare=False") as raised:
        await client.management.declare([inbox(function), named("theirs", declare=False)])
    assert raised.value.name == "theirs"
    await client.management.declare([inbox(function)])


async def test_a_name_that_the_broker_keeps_for_itself_is_refused(client):
    with pytest.raises(AccessDenied, match=r"amq\.mine"):
        await client.management.declare([Queue("amq.mine", "named")])


async def test_arguments_that_the_broker_does_not_know_are_an_error(client, function):
    wrong = QueueDeclaration(function, {"x-queue-type": "quorum", "x-max-length": "many"})
    with pytest.raises(DeclarationError, match=function):
        await client.management.carry_out([wrong])


async def test_a_user_without_permissions_is_told(rabbitmq, connecting, function):
    await rabbitmq.ctl("add_user", function, "secret")
    await rabbitmq.ctl("set_permissions", function, "^$", ".*", ".*")
    url = rabbitmq.url.replace("guest:guest", f"{function}:secret")
    async with connecting(url) as client:
        with pytest.raises(AccessDenied, match="permissions"):
            await client.management.declare([inbox(function)])


async def test_many_declare_the_same_at_once(client, connecting, rabbitmq_url, function):
    queue = inbox(function)
    async with connecting(rabbitmq_url) as other, asyncio.TaskGroup() as tasks:
        for each in (client, other) * 10:
            tasks.create_task(each.management.declare([queue], [Binding(queue, f"{function}.#")]))
    await client.publish(f"{function}.x", exchange="em.events")
    assert await client.management.depth(queue) == 1


async def test_deleting_a_queue_that_is_not_there_is_no_fault(client, function):
    await client.management.declare([named(function)])
    for _ in range(2):
        await client.management.delete(function)
    assert await client.management.depth(named(function)) == 0
