"""A service under a load that rises and falls, second by second, scaled by the project's own rule.

Work is a fluid here, and so nothing is random. What a layout of RabbitMQ does not let pass waits at
the senders: RabbitMQ slows them down (https://www.rabbitmq.com/docs/flow-control).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from benchmarks.scaling.recorded import Recorded
from eventmesh.scaling.figures import RATE_SECONDS
from eventmesh.scaling.rule import NO_MEMORY, Demand, Observation, Rule, decide

LOOK_SECONDS: Final = 2
"""Seconds between two looks of `eventmesh autoscale`."""

TRACE: Final = ((60, 0.1, 0.1), (120, 0.1, 1.0), (300, 1.0, 1.0), (120, 1.0, 0.1), (900, 0.1, 0.1))
"""The load: for so many seconds, from one share of its peak evenly to another."""

_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class Layout:
    """What carries the messages: what passes it in a second, and how it is called."""

    name: str
    rate: float


@dataclass(frozen=True)
class Outcome:
    """What became of a load. Times are seconds.

    `peak` arrivals a second came at most. There were `most` replicas at most, which together ran
    for `replica_hours`, where Little's law alone asks for `needed_hours`. `waiting` was the longest
    time from an arrival until it was begun, of what was begun; `unfinished` was left at the end.
    """

    replicas: int
    layout: Layout
    peak: float
    most: int
    waiting: float
    replica_hours: float
    needed_hours: float
    unfinished: float


def peak_of(recorded: Recorded, replicas: int, rule: Rule) -> float:
    """Return the arrivals a second for which so many replicas are exactly enough."""
    return replicas * recorded.slots * rule.utilisation / recorded.duration


def arrivals(peak: float) -> Iterator[float]:
    """Yield the arrivals of each second."""
    for length, first, last in TRACE:
        for second in range(length):
            yield peak * (first + (last - first) * second / length)


class _Service:
    """A service at one moment: its replicas, and the work that is held."""

    def __init__(self, recorded: Recorded, layout: Layout, ready: int) -> None:
        self._recorded = recorded
        self._layout = layout
        self.ready = ready
        self._starting: deque[tuple[float, int]] = deque()
        self.outside = 0.0
        self.inside = 0.0
        self.done = 0.0

    @property
    def replicas(self) -> int:
        return self.ready + sum(count for _, count in self._starting)

    def scale(self, now: float, replicas: int) -> None:
        """Start some, which takes its time, or stop some that are idle, which takes none."""
        while self.replicas > replicas and self._starting:
            self._starting.pop()
        self.ready = min(self.ready, replicas)
        if replicas > self.replicas:
            self._starting.append((now + self._recorded.start, replicas - self.replicas))

    def pass_second(self, now: float, arriving: float) -> None:
        """Take in what arrives and passes, and finish what can be finished."""
        while self._starting and self._starting[0][0] <= now:
            self.ready += self._starting.popleft()[1]
        self.outside += arriving
        entering = min(self.outside, self._layout.rate)
        self.outside -= entering
        self.inside += entering
        able = min(self.ready * self._recorded.slots / self._recorded.duration, self._layout.rate)
        self.done = min(self.inside, able)
        self.inside -= self.done


def _longest_wait(arriving: Sequence[float], done: Sequence[float]) -> float:
    """Return the longest time from an arrival until it is begun, first come, first served."""
    arrived, begun, longest = list(accumulate(arriving)), list(accumulate(done)), 0
    then = 0
    for now, all_begun in enumerate(begun):
        while then < now and arrived[then] <= all_begun + _ROUNDING:
            then += 1
        longest = max(longest, now - then)
    return float(longest)


def simulate(recorded: Recorded, layout: Layout, replicas: int, rule: Rule) -> Outcome:
    """Return what becomes of a load whose peak so many replicas are enough for."""
    peak = peak_of(recorded, replicas, rule)
    lowest = math.ceil(replicas * TRACE[0][1])
    service, memory = _Service(recorded, layout, lowest), NO_MEMORY
    seen: deque[float] = deque(maxlen=int(RATE_SECONDS))
    most, ran, needed, done = lowest, 0.0, 0.0, list[float]()
    trace = list(arrivals(peak))
    for now, arriving in enumerate(trace):
        service.pass_second(now, arriving)
        # The reader sees what RabbitMQ has; what waits at a sender it cannot see.
        seen.append(min(arriving, layout.rate))
        if now % LOOK_SECONDS == 0:
            demand = _demand(service, seen, recorded)
            decision = decide(service.replicas, Observation(now, 0.0, (demand,)), rule, memory)
            memory = decision.memory
            service.scale(now, decision.replicas)
        done.append(service.done)
        most = max(most, service.replicas)
        ran += service.replicas
        needed += max(arriving * recorded.duration / recorded.slots / rule.utilisation, 1.0)
    return Outcome(
        replicas,
        layout,
        peak,
        most,
        _longest_wait(trace, done),
        ran / 3600,
        needed / 3600,
        service.inside + service.outside,
    )


def _demand(service: _Service, seen: Sequence[float], recorded: Recorded) -> Demand:
    return Demand(
        "orders.handle",
        math.fsum(seen) / len(seen),  # `sum` rounds otherwise from Python 3.12 on.
        recorded.duration,
        math.floor(service.inside),
        math.floor(service.done * recorded.duration),
        recorded.slots,
    )


@dataclass(frozen=True)
class Need:
    """What RabbitMQ has to be for a peak: queues, nodes by themselves, or clusters of three."""

    replicas: int
    peak: float
    queues: int
    nodes: int
    clusters: int


def find_need(recorded: Recorded, replicas: int, rule: Rule) -> Need:
    """Return what has to carry the peak of so many replicas."""
    peak = peak_of(recorded, replicas, rule)
    return Need(
        replicas,
        peak,
        math.ceil(peak / recorded.queue),
        math.ceil(peak / recorded.node),
        math.ceil(peak / recorded.own_machines),
    )


def find_end(recorded: Recorded, rate: float, rule: Rule) -> int:
    """Return the number of replicas that a rate is enough for."""
    return math.floor(rate / peak_of(recorded, 1, rule))
