"""The comparison with peers runs: those are not installed here, and we alone show that."""

from tcp_balancer import balancing

from benchmarks.cluster.__main__ import measure


async def test_the_comparison_counts_what_became_of_each_call(cluster):
    (fleet,) = await measure(cluster, balancing, ["eventmesh"], seconds=1, rounds=1)

    assert fleet.tallies.keys() == {"asynchronous", "delayed", "retried"}
    for tally in fleet.tallies.values():
        assert tally.confirmed
        assert tally.lost == 0
        assert tally.calls.longest > 0
    assert not fleet.ended
