"""Orders a second taken from a queue that was filled beforehand."""

from __future__ import annotations

from benchmarks.peers import PEERS
from benchmarks.processes import Figures, complete, measure
from benchmarks.scenario import Bench, Scenario, peers_playing

COUNT = 20_000
FAST_COUNT = 100_000
FAST = frozenset({"eventmesh", "eventmesh_queue", "aiormq", "bare"})
"""Those that would be through with the fewer ones before they have run warm."""


def drain(bench: Bench, name: str) -> Figures:
    """Fill a queue in the peer's own way, then let the peer drain it."""
    peer = PEERS[name]
    job = bench.job(FAST_COUNT if name in FAST else COUNT, 100, amqp1=peer.amqp1)
    complete(name if "fill" in peer.roles else "bare", "fill", job)
    return measure(name, "consume", job)


SCENARIO = Scenario(
    "consume: a filled queue of 200-byte orders",
    peers_playing("consume"),
    {"rate": "messages/s"},
    drain,
)
