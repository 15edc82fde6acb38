"""All that may happen to a cluster, its links and the workers' clocks, in a seeded random order."""

import logging
import random
import time
from collections import defaultdict
from typing import ClassVar

from rabbitmq_cluster import Cluster
from tcp_proxy import TcpProxy

from cluster_load.clients import Load

LASTING = (4.0, 15.0)
"""Seconds for which a fault is on."""

REST = (4.0, 10.0)
"""Seconds without one, when everything works again."""

CLOCK_STEP = 8
"""Seconds by which clocks are set at most: nothing fires until the others have caught up."""

_log = logging.getLogger("adversary")


class Adversary:
    """Breaks one thing after the other, repairs it, and notes how long what did not go on."""

    def __init__(self, cluster: Cluster, links: list[TcpProxy], load: Load, seed: int) -> None:
        self._cluster = cluster
        self._links = links
        self._load = load
        self._random = random.Random(seed)
        self.gaps = defaultdict(list)
        """For each fault what `Ledger.lap` said of each time that it was on."""
        self.stuck: list[str] = []
        """What did not work again within the deadline."""

    async def torment(self, seconds: float, invocations: int) -> None:
        """Go on for so long, and until there were so many."""
        began = time.monotonic()
        ledger = self._load.ledger
        turns: list = []
        while time.monotonic() < began + seconds or ledger.invocations < invocations:
            if not turns:
                # Each fault once a round, so that rare ones are not missing.
                turns = [*self._faults]
                self._random.shuffle(turns)
            name = turns.pop()
            # A run that outlives its connection ends within this time: slots are whole again.
            await self._load.go_on(self._random.uniform(*REST))
            ledger.lap()
            ledger.is_well = False
            await self._faults[name](self)
            await self._recovered(name)
            ledger.is_well = True
            laps = ledger.lap()
            self.gaps[name].append(laps)
            worst = ", ".join(f"{kind} {max(both):.1f}" for kind, both in laps.items())
            _log.info(
                "%.0f s, %s invocations: %s: gaps: %s",
                time.monotonic() - began, f"{ledger.invocations:,}", name, worst,
            )  # fmt: skip

    async def _recovered(self, name: str) -> None:
        await self._cluster.recover()
        try:
            await self._load.progress()
        except AssertionError as error:
            # To go on shows whether it ever recovers, and what else happens in the time.
            self.stuck.append(f"{name}: {error}")
            _log.warning("%s: %s", name, error)

    def _nodes(self, count: int = 1):
        return self._random.sample(list(self._cluster.nodes), count)

    async def _last(self) -> None:
        await self._load.go_on(self._random.uniform(*LASTING))

    async def _kill(self) -> None:
        await self._nodes()[0].kill()
        await self._last()

    async def _kill_two(self) -> None:
        for node in self._nodes(2):
            await node.kill()
        await self._last()

    async def _stop(self) -> None:
        await self._nodes()[0].stop()
        await self._last()

    async def _freeze(self) -> None:
        await self._nodes()[0].pause()
        await self._last()

    async def _isolate(self) -> None:
        self._cluster.isolate(self._nodes()[0])
        await self._last()

    async def _cut(self) -> None:
        self._cluster.cut(*self._nodes(2))
        await self._last()

    async def _stall_clients(self) -> None:
        link = self._random.choice(self._links)
        link.stall()
        await self._last()
        await link.forward()

    async def _reset_clients(self) -> None:
        link = self._random.choice(self._links)
        await link.refuse()
        link.reset()
        await self._last()
        await link.forward()

    async def _set_clock(self) -> None:
        worker = self._random.choice(self._load.fleet.workers)
        await worker.set_clock(self._random.choice((-1, 1)) * self._random.uniform(1, CLOCK_STEP))
        await self._last()
        await worker.set_clock(0)

    async def _kill_worker(self) -> None:
        await self._load.fleet.replace(self._random.choice(self._load.fleet.workers))

    _faults: ClassVar = {
        "kill -9 of one node": _kill,
        "kill -9 of two nodes": _kill_two,
        "stop_app of one node": _stop,
        "SIGSTOP of one node": _freeze,
        "one node cut off the others": _isolate,
        "two nodes cut off each other": _cut,
        "one node cut off its clients": _stall_clients,
        "one node refuses its clients": _reset_clients,
        "the clock of a worker set": _set_clock,
        "kill -9 of a worker": _kill_worker,
    }


def table_of_gaps(adversary: Adversary) -> str:
    """Lines for a person: the longest gaps in calls / in runs of each kind, in seconds."""
    kinds = list(next(iter(adversary.gaps.values()))[0])
    lines = [f"{'longest gaps: calls/runs':<30}{'times':>6}" + "".join(f"{k:>14}" for k in kinds)]
    for name, laps in sorted(adversary.gaps.items()):
        longest = (
            "/".join(f"{max(lap[kind][side] for lap in laps):.1f}" for side in (0, 1))
            for kind in kinds
        )
        lines.append(f"{name:<30}{len(laps):>6}" + "".join(f"{both:>14}" for both in longest))
    return "\n".join(lines)
