"""A scenario: its subjects, its units, and how to measure one subject once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.durable.database import databases
from benchmarks.job import Job
from benchmarks.peers import PEERS
from benchmarks.processes import Figures, LeftOut


@dataclass(frozen=True)
class Bench:
    """One run: its brokers, and whether it is only to show that everything works.

    `database` makes an empty database while entered, and gives its URL. `rows` are in the tables
    of those that measure how much they matter.
    """

    url: str
    amqp1_url: str | None
    cluster_url: Callable[[], str]
    quick: bool = False
    rows: int = 1_000_000
    database: Callable[[], AbstractContextManager[str]] = databases

    def job(
        self,
        count: int,
        in_flight: int = 1,
        *,
        size: int = 0,
        wait: float = 0.0,
        amqp1: bool = False,
        on_cluster: bool = False,
    ) -> Job:
        """A job with a queue of its own; a quick run has a fiftieth of the messages."""
        url = self.cluster_url() if on_cluster else self.amqp1_url if amqp1 else self.url
        if url is None:
            raise LeftOut("needs RabbitMQ 4: say in EVENTMESH_BENCH_AMQP1 where one is")
        count = max(count // 50, 2 * in_flight) if self.quick else count
        return Job(url, f"bench-{uuid4().hex[:12]}", count, in_flight, size, wait)


@dataclass(frozen=True)
class Scenario:
    """`subjects` and `units` give titles to what is measured and to each of its figures.

    `lower_is_better` are the figures of which less is more.
    """

    title: str
    subjects: Mapping[str, str]
    units: Mapping[str, str]
    measure: Callable[[Bench, str], Figures]
    lower_is_better: frozenset[str] = field(default=frozenset())


def peers_playing(role: str) -> Mapping[str, str]:
    """Names and titles of the peers that have this role."""
    return {name: peer.title for name, peer in PEERS.items() if role in peer.roles}
