"""Links of a cluster are cut under load, and heal."""

from rabbitmq_cluster.cluster import NET_TICKTIME


async def test_a_node_is_cut_off_the_others(cluster, under_load, size):
    async with under_load("one node cut off the others") as load:
        for one in range(size(1, 6)):
            cluster.isolate(cluster.nodes[one % 3])
            # Until the nodes have noticed, and then for a while.
            await load.go_on(NET_TICKTIME * 1.5 + size(2, 30))
            await cluster.recover()
            await load.progress()


async def test_a_node_is_cut_off_its_clients(access, under_load, size):
    async with under_load("one node cut off its clients") as load:
        for one in range(size(1, 6)):
            access.links[one % 3].stall()
            await load.go_on(size(4, 40))
            await access.links[one % 3].forward()
            await load.progress()
