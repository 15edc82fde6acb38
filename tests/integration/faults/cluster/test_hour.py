"""Everything that can happen to a cluster happens to one, in turn, under one load."""

import os

from cluster_load.adversary import Adversary, table_of_gaps
from cluster_load.clients import Pace

SEED = "EVENTMESH_TEST_SEED"
SECONDS = "EVENTMESH_TEST_SECONDS"
"""How long it lasts, where that is not as long as the size says, whatever it comes to."""


async def test_faults_of_all_kinds_follow_each_other(
    cluster, access, under_load, size, record_figure
):
    seconds, invocations = size(20, 3600), size(300, 1_000_000)
    if SECONDS in os.environ:
        seconds, invocations = int(os.environ[SECONDS]), 0
    seed = int(os.environ.get(SEED, "1"))
    # So many that an hour with its faults has a million.
    pace = Pace(rate=size(4, 24), rate_of_delays=4, at_once=size(1, 3))
    title = f"all faults in turn, seed {seed}"
    async with under_load(title, pace) as load:
        adversary = Adversary(cluster, access.links, load, seed)
        await adversary.torment(seconds, invocations)
    record_figure(f"{load.ledger.invocations:,} invocations\n{table_of_gaps(adversary)}")
    assert adversary.stuck == []
