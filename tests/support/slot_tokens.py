"""What tests of slots ask of the tokens that these are."""

from eventmesh.brokers.rabbitmq.coordination.tokens import find_tokens
from eventmesh.model.topology import named


async def tokens_of(client, name):
    return await find_tokens(client.management, name, 0, insist=False)


async def all_back(client, name, count):
    """Wait until all tokens lie in their queue, and there are exactly so many."""
    found = await tokens_of(client, name)
    assert found.count == count
    await client.depth_reaches(named(found.queue), count)
