"""Timers over RabbitMQ: each moment once, whichever replica leads, however often it is killed."""

import time
from itertools import pairwise

from fleet import Progress, fleet

PERIOD = 0.2


async def test_each_moment_fires_under_one_id_while_leaders_are_killed(
    rabbitmq, broker_at, size, capsys
):
    kills = size(3, 10)
    url = await rabbitmq.new_virtual_host()
    moments = Progress()
    ids = {}
    late = []

    def listen(_, line):
        _, moment, id = line.split()
        moments.add(moment)
        ids.setdefault(moment, set()).add(id)
        late.append(time.time() - float(moment))

    async with broker_at(url), fleet(url, "timers", 3, listen) as workers:
        failovers = []
        for _ in range(kills):
            await moments.reach(len(moments.seen) + 3)
            # Which of them leads is not known from outside: so all but one are replaced.
            late.clear()
            for worker in workers.workers[:2]:
                await workers.replace(worker)
            await moments.reach(len(moments.seen) + 3)
            failovers.append(max(late))
        await moments.reach(len(moments.seen) + 10)

    assert all(len(known) == 1 for known in ids.values())
    fired = sorted(float(moment) for moment in moments.seen)
    missed = [after for before, after in pairwise(fired) if after - before > PERIOD * 1.5]
    assert missed == []
    with capsys.disabled():
        print(
            f"\ntimers: {len(fired)} moments, {2 * kills} replicas killed, none missed, "
            f"{moments.duplicates} delivered twice under the same id, "
            f"latest {max(failovers):.1f} s after its moment"
        )
