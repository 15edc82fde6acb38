"""What `eventmesh doctor --permissions` tries, as users with the rights of a service and others."""

import asyncio

import pytest

from eventmesh.brokers.rabbitmq.access.permissions import permissions
from eventmesh.brokers.rabbitmq.access.probes import probes
from eventmesh.brokers.rabbitmq.address import parse_address
from eventmesh.brokers.rabbitmq.management.prober import Prober
from eventmesh.doctor.permissions import judge

LENGTHS = (
    "lists:sort([{{Name, rabbit_amqqueue:stat(Queue)}}"
    ' || Queue <- rabbit_amqqueue:list(<<"{vhost}">>),'
    " Name <- [element(4, amqqueue:get_name(Queue))],"
    ' string:prefix(Name, <<"{but}">>) == nomatch]).'
)
"""Says how many messages wait in each queue of a virtual host but some, and its consumers.

These are the numbers of now: those in a list of quorum queues are some seconds late.
"""


@pytest.fixture
def evil_rights(mesh, rights_of_both):
    return next(each for each in rights_of_both(mesh.evil, mesh.shop) if each.service == mesh.evil)


async def verdicts(mesh, rights):
    address = parse_address(mesh.url(mesh.evil, "?users=per-service"))
    async with Prober(address, "test") as prober:
        tried = [judge(probe, await prober.ask(probe)) for probe in probes(rights)]
    return {right.right: right.verdict for right in tried if right.verdict != "OK"}


@pytest.fixture
async def permit(mesh, node, evil_rights):
    """Give the user other permissions for a test."""

    async def permit(*three):
        await node.ctl("set_permissions", "-p", mesh.vhost, mesh.evil, *three)

    yield permit
    granted = permissions(evil_rights)
    await permit(granted.configure, granted.write, granted.read)
    topic = ("em.events", "^$", granted.patterns)
    await node.ctl("set_topic_permissions", "-p", mesh.vhost, mesh.evil, *topic)


async def test_rights_from_code_are_all_there_and_no_more(mesh, evil_rights):
    never = {f"publish em.to.{kind}.{mesh.shop}.never": "MISSING" for kind in ("inbox", "rpc")}
    # This function is in calls=, and in nobody's code: so it has no exchanges.
    assert await verdicts(mesh, evil_rights) == never


async def test_a_user_who_may_do_all(mesh, evil_rights, permit, node):
    await permit(".*", ".*", ".*")
    await node.ctl("clear_topic_permissions", "-p", mesh.vhost, mesh.evil)
    found = await verdicts(mesh, evil_rights)
    refusals = [each for each in probes(evil_rights) if not each.granted]
    assert list(found.values()).count("TOO MUCH") == len(refusals)


async def test_a_user_who_may_do_nothing(mesh, evil_rights, permit):
    await permit("^$", "^$", "^em.replies$")
    found = await verdicts(mesh, evil_rights)
    assert set(found.values()) == {"MISSING"}
    assert len(found) == sum(probe.granted for probe in probes(evil_rights))


async def bindings(node, mesh):
    columns = ("source_name", "destination_name", "routing_key")
    rows = await node.table("list_bindings", *columns, vhost=mesh.vhost)
    found = {tuple(row[column] for column in columns) for row in rows}
    return {row for row in found if not row[1].startswith("em.replies.")}


@pytest.mark.parametrize("three", [(".*", ".*", ".*"), ("^$", "^$", "^$"), None])
async def test_it_leaves_all_as_it_was(mesh, evil_rights, permit, node, three):
    async def queues(but):
        return await node.ctl("eval", LENGTHS.format(vhost=mesh.vhost, but=but))

    # Exclusive queues are deleted some moments after their connection, also those of other tests.
    before = await queues("em.replies.")
    bound = await bindings(node, mesh)
    if three is not None:
        await permit(*three)
    await verdicts(mesh, evil_rights)
    async with asyncio.timeout(60):
        while await queues("none") != before:
            pass
    assert await bindings(node, mesh) == bound
