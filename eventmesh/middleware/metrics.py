"""Counts of invocations, for Prometheus.

An invocation adds to a few plain integers, which costs less than half of what prometheus_client's
own instruments do. Metric families are made from them when the metrics are read. All counting
happens in one event loop, so nothing needs a lock.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from eventmesh.abc import Handler, Middleware
from eventmesh.aio.clock import Clock
from eventmesh.middleware.outcome import (
    ObservedStream,
    find_failure,
    is_fault,
    list_faults,
    name_error,
    name_outcome,
)
from eventmesh.middleware.runs import ReadPayload, RunLog
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import ASYNC, Invocation
from eventmesh.model.result import Result
from eventmesh.model.work import DURATIONS, Work

KeyT = TypeVar("KeyT", bound=Hashable)

AGES: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0)
"""Upper bounds of the buckets of ages, in seconds: up to the six hours a retry may take."""

MAX_SERIES: Final = 100
"""Label values counted separately for one function; the rest count as "other". Senders choose
some of them, so there must be a limit."""

OTHER: Final = "other"

WATCHED: Final[Mapping[str, str]] = {
    "throttles_total": "Invocations refused: the queue for a permit was full or too slow.",
    "access_denied_total": "Invocations refused: their caller may not call the function.",
    "retries_total": "Invocations that failed and were stored to be tried again.",
    "dead_letters_total": "Invocations that became dead letters.",
    "undelivered_total": "Records of outcomes whose destination did not exist.",
    "settlements_waiting": "Settlements that the broker does not store now; each is repeated.",
    "waiting": "Invocations that wait in this process for a permit to run.",
    "abandoned_runs": "Runs that go on in a thread after their timeout or cancellation.",
    "outbox_pending": "Committed messages that this process is to publish.",
    "outbox_oldest_seconds": "How long ago the oldest of them was committed.",
    "outbox_failed_total": "Times that a message of the outbox was refused; it is tried again.",
    "instances": "Processes in which an isolated function runs, in this process of its service.",
    "instance_starts_total": "Instances that were started.",
    "instance_out_of_memory_total": "Instances that were killed because they took too much memory.",
    "instance_memory_peak_bytes": "The most memory that an instance which has ended took.",
    "presence_refused_total": "Announcements of processes dropped: not valid, or not their own.",
    "http_connections": "Open connections of HTTP clients.",
    "http_body_bytes": "Bytes that the bodies of requests take, and what is parsed of them.",
    "http_refused_connections_total": "Connections refused: too many in all, or of one client.",
    "http_slow_clients_total": "Connections closed: a head or a body of a request came too slowly.",
    "http_refused_bodies_total": "Requests refused with 503: all bodies together were too large.",
    "http_dense_bodies_total": "Compressed bodies refused with 413: they grow too much.",
    "http_large_bodies_total": "Requests refused with 413: too many bytes or JSON values.",
}
"""Metrics that other parts count, and their descriptions."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Metrics:
    """The metrics of one host, in a `registry` of its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.runs = RunLog(clock)
        """The runs that go on, and some that have ended."""
        self._functions: dict[str, _FunctionMetrics] = {}
        self._watched: dict[str, dict[str, list[Callable[[], float]]]] = {}
        self.registry = CollectorRegistry()
        self.registry.register(_Families(self._functions, self._watched))
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)

    def measure(self, function: str, read_payload: ReadPayload | None = None) -> Middleware:
        """Count the invocations of `function` and measure how long they take.

        `read_payload` says what `runs` tell of their payloads; None for nothing.
        """
        counts = self._functions.setdefault(
            function, _FunctionMetrics(self._clock, self.runs, read_payload)
        )

        def wrap(handler: Handler) -> Handler:
            return _measure(handler, counts)

        return wrap

    def work(self) -> Mapping[str, Work]:
        """Return what was done of each function of which anything was."""
        return {
            name: counts.work() for name, counts in self._functions.items() if counts.invocations
        }

    def gauge(self, name: str, function: str, read: Callable[[], float]) -> None:
        """Show as "eventmesh_{name}" what `read` returns, with the label `function`.

        With "" for all functions it is of the process, and has no label.

        `read` is called whenever the metrics are read, and must neither block nor raise. A name
        that ends in "_total" is a counter and never goes down, any other is a gauge. Several of
        one name and function are added up.
        """
        if not _NAME.fullmatch(name):
            raise DeclarationError(
                f"a metric cannot be called {name!r}: use lower-case letters, digits and '_'"
            )
        self._watched.setdefault(name, {}).setdefault(function, []).append(read)


class _Histogram:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        if value > 0.0:  # Less is what a clock says that was set back, or another machine's.
            self.total += value
        self.counts[bisect_left(self._bounds, value)] += 1

    def buckets(self) -> list[tuple[str, float]]:
        """Each upper bound and how many values were not above it."""
        bounds = [*map(str, self._bounds), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


class _FunctionMetrics:
    """The numbers of one function."""

    __slots__ = (
        "_now",
        "_read_payload",
        "_runs",
        "ages",
        "durations",
        "errors",
        "failed",
        "invocations",
        "items",
        "running",
    )

    def __init__(self, clock: Clock, runs: RunLog, read_payload: ReadPayload | None) -> None:
        self._now = clock.now
        self._runs = runs
        self._read_payload = read_payload
        self.running = 0
        self.items = 0
        self.failed = 0
        self.durations = _Histogram(DURATIONS)
        self.ages = _Histogram(AGES)
        self.invocations: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()

    def begin(self, invocation: Invocation) -> tuple[float, int]:
        """Count one more that runs, and say when it began, and its number among all runs."""
        now = self._now()
        self.running += 1
        if invocation.mode == ASYNC:
            self.ages.observe(now - invocation.created)
        return now, self._runs.begin(invocation, now, self._read_payload)

    def end(
        self, invocation: Invocation, began: tuple[float, int], error: BaseException | None
    ) -> None:
        """Count one that has ended."""
        now = self._now()
        started, number = began
        self._runs.end(number, now, error)
        self.running -= 1
        self.items += 1 if invocation.batch is None else len(invocation.batch.bodies)
        self.durations.observe(now - started)
        _count(self.invocations, (invocation.trigger, name_outcome(error)), (OTHER, OTHER))
        if error is not None:
            self.failed += is_fault(error)
            for fault in list_faults(error):
                _count(self.errors, name_error(fault), OTHER)

    def work(self) -> Work:
        """Return what was done."""
        counts = tuple(self.durations.counts)
        return Work(sum(counts), self.failed, self.items, self.durations.total, counts)


def _count(counter: Counter[KeyT], key: KeyT, other: KeyT) -> None:
    if key not in counter and len(counter) >= MAX_SERIES:
        key = other
    counter[key] += 1


def _measure(handler: Handler, counts: _FunctionMetrics) -> Handler:
    async def run(invocation: Invocation) -> Result:
        began = counts.begin(invocation)
        try:
            result = await handler(invocation)
        except BaseException as error:
            counts.end(invocation, began, error)
            raise
        if result.stream is not None:
            end = partial(counts.end, invocation, began)
            return replace(result, stream=ObservedStream(result.stream, end))
        counts.end(invocation, began, find_failure(result))
        return result

    return run


class _Families(Collector):
    """Collects the numbers as Prometheus' metric families whenever they are read."""

    def __init__(
        self,
        functions: Mapping[str, _FunctionMetrics],
        watched: Mapping[str, Mapping[str, Sequence[Callable[[], float]]]],
    ) -> None:
        self._functions = functions
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        yield from self._invocations()
        yield from self._runs()
        for name, functions in self._watched.items():
            yield _gauge_family(name, functions)

    def _invocations(self) -> Iterator[Metric]:
        invocations = CounterMetricFamily(
            "eventmesh_invocations",
            "Invocations that have ended, by how.",
            labels=("function", "trigger", "outcome"),
        )
        errors = CounterMetricFamily(
            "eventmesh_errors",
            "Faults of invocations and of items of a batch, by type.",
            labels=("function", "error"),
        )
        for name, counts in self._functions.items():
            for labels, number in counts.invocations.items():
                invocations.add_metric((name, *labels), number)
            for error, number in counts.errors.items():
                errors.add_metric((name, error), number)
        yield invocations
        yield errors

    def _runs(self) -> Iterator[Metric]:
        running = GaugeMetricFamily(
            "eventmesh_concurrent_executions",
            "Invocations that run now, each until the end of its stream.",
            labels=("function",),
        )
        durations = HistogramMetricFamily(
            "eventmesh_invocation_duration_seconds",
            "How long invocations ran, without the time they waited for a permit.",
            labels=("function",),
        )
        ages = HistogramMetricFamily(
            "eventmesh_event_age_seconds",
            "How long ago asynchronous invocations had been stored when a run of them began.",
            labels=("function",),
        )
        for name, counts in self._functions.items():
            running.add_metric((name,), counts.running)
            durations.add_metric((name,), counts.durations.buckets(), counts.durations.total)
            ages.add_metric((name,), counts.ages.buckets(), counts.ages.total)
        yield running
        yield durations
        yield ages


def _gauge_family(
    name: str, functions: Mapping[str, Sequence[Callable[[], float]]]
) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    documentation = WATCHED.get(name, "A number that a part of the host counts.")
    of_process = set(functions) == {""}
    family = kind(f"eventmesh_{name}", documentation, labels=() if of_process else ("function",))
    for function, reads in functions.items():
        family.add_metric(() if of_process else (function,), sum(read() for read in reads))
    return family
