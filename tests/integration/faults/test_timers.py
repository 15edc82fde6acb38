"""Timers over RabbitMQ: each moment once, whichever replica leads, however often it is killed."""

import asyncio
import re
import time
from itertools import pairwise

import pytest
from fleet import Progress, fleet

PERIOD = 0.2
LEASE = "em.timers.timers"
LEADER = re.compile(r"worker (\d+) \(management\)")


class Firings:
    """What the workers say of each moment that has fired."""

    def __init__(self):
        self.moments = Progress()
        self.ids = {}
        self.late = []

    def listen(self, _, line):
        _, moment, id = line.split()
        self.moments.add(moment)
        self.ids.setdefault(moment, set()).add(id)
        self.late.append(time.time() - float(moment))

    async def more(self, count):
        await self.moments.reach(len(self.moments.seen) + count)

    async def latest_after(self, fault):
        """By how many seconds the latest moment was late, of those that `fault` concerned."""
        await self.more(3)
        self.late.clear()
        await fault
        await self.more(3)
        return max(self.late)


async def leader(rabbitmq, vhost, workers):
    """The worker that holds the lease, once one does."""
    async with asyncio.timeout(60):
        while True:
            name = await rabbitmq.active_consumer(LEASE, vhost)
            if found := LEADER.search(name):
                return next(one for one in workers if one.pid == int(found[1]))


@pytest.mark.disruptive
async def test_each_moment_fires_under_one_id_while_leaders_are_killed(
    rabbitmq, broker_at, size, record_figure
):
    kills = size(3, 10)
    url = await rabbitmq.new_virtual_host()
    vhost = url.rpartition("/")[2]
    firings = Firings()

    async with broker_at(url), fleet(url, "timers", 3, firings.listen) as workers:
        failovers = []
        for _ in range(kills):
            leading = await leader(rabbitmq, vhost, workers.workers)
            failovers.append(await firings.latest_after(workers.replace(leading)))
        restart = await firings.latest_after(rabbitmq.restart())
        await firings.more(10)

    assert all(len(known) == 1 for known in firings.ids.values())
    fired = sorted(float(moment) for moment in firings.moments.seen)
    missed = [after for before, after in pairwise(fired) if after - before > PERIOD * 1.5]
    assert missed == []
    record_figure(
        f"timers: {len(fired)} moments, {kills} leaders killed, none missed, "
        f"{firings.moments.duplicates} delivered twice under the same id; moments were "
        f"{min(failovers):.1f} to {max(failovers):.1f} s late by a fail-over, and "
        f"{restart:.1f} s by a restart of the broker"
    )
