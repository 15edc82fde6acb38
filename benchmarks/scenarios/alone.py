"""eventmesh alone: what has one figure or two, and no peers that do the same."""

from __future__ import annotations

from benchmarks.peers.chunks import PARTS
from benchmarks.processes import Figures, complete, measure, peer, running
from benchmarks.scenario import Bench, Scenario

SUBJECT = {"eventmesh": "eventmesh"}
WAIT = 0.01
SUBSCRIBERS = 10
DELAY_SECONDS = 1.0
COUNT = 5_000_000
"""Messages that go through a process whose memory is watched."""


def _wait(bench: Bench, _: str) -> Figures:
    job = bench.job(20_000, 100, wait=WAIT)
    complete("eventmesh", "fill", job)
    return measure("eventmesh", "consume", job)


def _limit(bench: Bench, subject: str) -> Figures:
    job = bench.job(20_000, _LIMITS[subject])
    complete("eventmesh", "fill", job)
    return measure("eventmesh_alone", "limited", job)


def _fan_out(bench: Bench, _: str) -> Figures:
    job = bench.job(5_000, SUBSCRIBERS)
    with running(*peer("eventmesh_alone", "subscribe", job)) as subscribers:
        subscribers.report()
        complete("eventmesh_alone", "emit", job)
        return subscribers.figures()


def _delay(bench: Bench, _: str) -> Figures:
    return measure("eventmesh_alone", "delay", bench.job(500, 50, wait=DELAY_SECONDS))


def _functions(bench: Bench, _: str) -> Figures:
    return measure("eventmesh_alone", "functions", bench.job(1_000, 10))


def _timers(bench: Bench, _: str) -> Figures:
    return measure("eventmesh_alone", "timers", bench.job(10_000, 100))


def _grow(bench: Bench, _: str) -> Figures:
    with running(*peer("eventmesh_alone", "grow", bench.job(COUNT // PARTS, 100))) as process:
        figures = [process.figures() for _ in range(PARTS)]
    sizes = [said["rss"] for said in figures]
    return {"first": sizes[0], "most": max(sizes), "rate": figures[-1]["rate"]}


_LIMITS = {"eventmesh": 10, "two": 2, "hundred": 100}
LIMITS = Scenario(
    "eventmesh: consuming with small limits",
    {subject: f"concurrency={limit}" for subject, limit in _LIMITS.items()},
    {"rate": "messages/s"},
    _limit,
)
LATENESS = {"p50": "late, p50, ms", "worst": "worst, ms"}

WAITING = Scenario(
    "eventmesh: handlers that wait 10 ms, 100 at once (10,000 is all there could be)",
    SUBJECT,
    {"rate": "messages/s"},
    _wait,
)
FAN_OUT = Scenario(
    "eventmesh: events to 10 subscribers", SUBJECT, {"rate": "deliveries/s"}, _fan_out
)
DELAY = Scenario(
    "eventmesh: a message delayed by 1 s", SUBJECT, LATENESS, _delay, frozenset(LATENESS)
)
FUNCTIONS = Scenario(
    "eventmesh: 1,000 functions in a service",
    SUBJECT,
    {"start": "start, s", "rate": "send to handled, /s", "rss": "memory, MB"},
    _functions,
    frozenset({"start", "rss"}),
)
TIMERS = Scenario(
    "eventmesh: 10,000 timers of 20 s",
    SUBJECT,
    {"start": "start, s", **LATENESS, "rss": "memory, MB"},
    _timers,
    frozenset({"start", "rss", *LATENESS}),
)
GROWTH = Scenario(
    "eventmesh: a process that sends itself 5,000,000 orders",
    SUBJECT,
    {"first": "after 250,000, MB", "most": "most, MB", "rate": "sent and handled/s"},
    _grow,
    frozenset({"first", "most"}),
)
