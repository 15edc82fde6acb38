"""What a cluster of three nodes costs: the same work on it and on one node, in turns."""

from __future__ import annotations

from benchmarks.job import Job
from benchmarks.processes import Figures, complete, measure, peer, running
from benchmarks.scenario import Bench, Scenario
from benchmarks.scenarios import publish, request

COUNT = 10_000


def work(bench: Bench, subject: str) -> Figures:
    """Publish to an inbox, drain one, and ask for replies."""
    on_cluster = subject == "eventmesh"

    def job(in_flight: int) -> Job:
        return bench.job(COUNT, in_flight, on_cluster=on_cluster)

    published = measure("eventmesh", "publish", job(publish.IN_FLIGHT))
    filled = job(100)
    complete("eventmesh", "fill", filled)
    consumed = measure("eventmesh", "consume", filled)
    asked = job(request.IN_FLIGHT)
    with running(*peer("eventmesh", "serve", asked)) as server:
        server.report()
        requested = measure("eventmesh", "request", asked)
    return {
        "published": published["rate"],
        "consumed": consumed["rate"],
        "p50": requested["p50"],
        "requested": requested["rate"],
    }


SCENARIO = Scenario(
    "eventmesh on a cluster of three nodes, all on this machine",
    {"eventmesh": "three nodes", "one": "one node"},
    {
        "published": "published/s",
        "consumed": "consumed/s",
        "p50": "request, 1 in flight, p50, ms",
        "requested": "requests/s, 64 in flight",
    },
    work,
    frozenset({"p50"}),
)
