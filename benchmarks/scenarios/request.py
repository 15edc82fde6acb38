"""Request and reply: a client process asks a server process over the broker."""

from __future__ import annotations

from benchmarks.processes import Figures, measure, peer, running
from benchmarks.scenario import Bench, Scenario, peers_playing

COUNT = 5_000
FAST_COUNT = 40_000
FAST = frozenset({"eventmesh", "bare"})
IN_FLIGHT = 64


def ask(bench: Bench, name: str) -> Figures:
    job = bench.job(FAST_COUNT if name in FAST else COUNT, IN_FLIGHT)
    with running(*peer(name, "serve", job)) as server:
        server.report()
        return measure(name, "request", job)


SCENARIO = Scenario(
    "request/reply of an order",
    peers_playing("request"),
    {"p50": "p50, 1 in flight, ms", "rate": "64 in flight, /s"},
    ask,
    frozenset({"p50"}),
)
