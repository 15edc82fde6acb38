"""Nodes of a cluster die, stop and freeze under load, and come back."""

import pytest


@pytest.fixture
def lasting(size):
    """How long a fault lasts, in seconds."""
    return size(4, 40)


@pytest.fixture
def rounds(size):
    return size(1, 6)


async def test_a_node_is_killed(cluster, under_load, lasting, rounds):
    async with under_load("kill -9 of one node") as load:
        for one in range(rounds):
            await cluster.nodes[one % 3].kill()
            await load.go_on(lasting)
            await cluster.recover()
            await load.progress()


async def test_nodes_are_restarted_one_after_the_other(cluster, under_load, lasting, rounds):
    async with under_load("stop_app, rolling") as load:
        for _ in range(rounds):
            for node in cluster.nodes:
                await node.stop()
                await load.go_on(lasting / 2)
                await cluster.recover()
            await load.progress()


async def test_a_node_freezes(cluster, under_load, lasting, rounds):
    async with under_load("SIGSTOP of one node") as load:
        for one in range(rounds):
            await cluster.nodes[one % 3].pause()
            await load.go_on(2 * lasting)
            await cluster.recover()
            await load.progress()


async def test_a_majority_is_killed(cluster, under_load, lasting, rounds):
    async with under_load("kill -9 of two nodes of three") as load:
        for one in range(rounds):
            await cluster.nodes[one % 3].kill()
            await cluster.nodes[(one + 1) % 3].kill()
            await load.go_on(lasting)
            await cluster.recover()
            await load.progress()
