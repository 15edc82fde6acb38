import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from eventmesh.middleware.metrics import MAX_SERIES, WATCHED, Metrics
from eventmesh.model.errors import (
    DeclarationError,
    FunctionError,
    InvocationTimeout,
    Problem,
    RetryLater,
)
from eventmesh.model.invocation import ASYNC, SYNC, Invocation
from eventmesh.model.result import Result, close_stream
from eventmesh.model.work import DURATIONS

FUNCTION = {"function": "orders.place"}


@pytest.fixture
def metrics(clock):
    return Metrics(clock)


def samples(metrics, name, read=text_string_to_metric_families, write=generate_latest):
    """The samples of one name, as a scrape gets them: labels and value."""
    families = read(write(metrics.registry).decode())
    return [
        (sample.labels, sample.value)
        for family in families
        for sample in family.samples
        if sample.name == name
    ]


def value(metrics, name, **labels):
    (found,) = [number for given, number in samples(metrics, name) if given == FUNCTION | labels]
    return found


def ends_with(error=None, **fields):
    async def handler(invocation):
        return Result(error=error, **fields)

    return handler


def streams(*items):
    async def generate():
        for item in items:
            yield item

    async def handler(invocation):
        return Result(stream=generate())

    return handler


async def test_invocations_are_counted_by_trigger_and_outcome(metrics, invocation):
    measured = metrics.measure("orders.place")
    for trigger, handler in (
        ("http", ends_with()),
        ("http", ends_with()),
        ("http", ends_with(InvocationTimeout("too slow"))),
        ("queue", ends_with(RetryLater(5))),
        ("queue", ends_with(failures={0: Problem(404)})),
    ):
        await measured(handler)(invocation(trigger=trigger))
    counted = {
        (labels["trigger"], labels["outcome"]): number
        for labels, number in samples(metrics, "eventmesh_invocations_total")
    }
    assert counted == {
        ("http", "success"): 2,
        ("http", "timeout"): 1,
        ("queue", "retry_later"): 1,
        ("queue", "partial_failure"): 1,
    }


async def test_faults_are_counted_by_type_and_signals_are_none(metrics, invocation):
    measured = metrics.measure("orders.place")
    failures = {
        0: FunctionError("ValueError", "a"),
        4: FunctionError("KeyError", "b"),
        5: Problem(404),
    }
    for handler in (
        ends_with(FunctionError("ValueError", "boom")),
        ends_with(InvocationTimeout("too slow")),
        ends_with(RetryLater(5)),
        ends_with(failures=failures),
    ):
        await measured(handler)(invocation())
    counted = {labels["error"]: n for labels, n in samples(metrics, "eventmesh_errors_total")}
    assert counted == {"ValueError": 2, "timeout": 1, "KeyError": 1}


async def test_durations_and_what_runs_now(metrics, clock, invocation):
    seen = []

    async def handler(invocation):
        seen.append(value(metrics, "eventmesh_concurrent_executions"))
        await clock.advance(0.03)
        return Result()

    measured = metrics.measure("orders.place")(handler)
    assert value(metrics, "eventmesh_concurrent_executions") == 0
    await measured(invocation())
    assert seen == [1]
    assert value(metrics, "eventmesh_concurrent_executions") == 0
    assert value(metrics, "eventmesh_invocation_duration_seconds_count") == 1
    assert value(metrics, "eventmesh_invocation_duration_seconds_sum") == pytest.approx(0.03)
    assert value(metrics, "eventmesh_invocation_duration_seconds_bucket", le="0.025") == 0
    assert value(metrics, "eventmesh_invocation_duration_seconds_bucket", le="0.05") == 1


async def test_a_cancelled_run_is_counted_and_runs_no_more(metrics, invocation):
    async def handler(invocation):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await metrics.measure("orders.place")(handler)(invocation())
    assert value(metrics, "eventmesh_concurrent_executions") == 0
    ((labels, number),) = samples(metrics, "eventmesh_invocations_total")
    assert (labels["outcome"], number) == ("cancelled", 1)
    assert samples(metrics, "eventmesh_errors_total") == []


async def test_a_stream_runs_until_it_has_ended(metrics, clock, invocation):
    result = await metrics.measure("orders.place")(streams(b"1", b"2"))(invocation())
    async for _ in result.stream:
        assert value(metrics, "eventmesh_concurrent_executions") == 1
        await clock.advance(2)
    assert value(metrics, "eventmesh_concurrent_executions") == 0
    assert value(metrics, "eventmesh_invocation_duration_seconds_sum") == 4


async def test_a_stream_that_is_closed_before_its_first_item_is_cancelled(metrics, invocation):
    result = await metrics.measure("orders.place")(streams(b"1"))(invocation())
    await close_stream(result.stream)
    ((labels, _),) = samples(metrics, "eventmesh_invocations_total")
    assert labels["outcome"] == "cancelled"
    assert value(metrics, "eventmesh_concurrent_executions") == 0


async def test_the_age_of_asynchronous_work_is_measured_when_it_begins(metrics, clock, invocation):
    measured = metrics.measure("orders.place")(ends_with())
    await measured(invocation(created=clock.now() - 20, mode=ASYNC))
    await measured(invocation(created=clock.now() - 20))
    await measured(invocation(created=clock.now() + 5, mode=ASYNC))
    assert value(metrics, "eventmesh_event_age_seconds_count") == 2
    assert value(metrics, "eventmesh_event_age_seconds_sum") == 20
    assert value(metrics, "eventmesh_event_age_seconds_bucket", le="0.01") == 1


class SetClock:
    """Shows the time it was set to, to the last digit."""

    time = 0.0

    def now(self):
        return self.time


@given(st.lists(st.sampled_from(DURATIONS) | st.floats(0, 2000)))
def test_buckets_are_those_of_a_histogram_of_prometheus(durations):
    clock = SetClock()
    metrics, registry = Metrics(clock), CollectorRegistry()
    name = "eventmesh_invocation_duration_seconds"
    theirs = Histogram(name, "The same.", ["function"], buckets=DURATIONS, registry=registry)

    async def handler(invocation):
        clock.time = float(invocation.payload)
        return Result()

    async def run():
        measured = metrics.measure("orders.place")(handler)
        for duration in durations:
            clock.time = 0.0
            await measured(Invocation("orders.place", "4fd0", repr(duration).encode(), 0.0, SYNC))
            theirs.labels("orders.place").observe(duration)

    asyncio.run(run())
    theirs.labels("orders.place")
    (expected,) = registry.collect()
    (ours,) = [family for family in metrics.registry.collect() if family.name == name]
    assert [(s.name, s.labels, s.value) for s in ours.samples] == [
        (s.name, s.labels, s.value) for s in expected.samples if not s.name.endswith("_created")
    ]


async def test_labels_that_come_from_outside_are_bounded(metrics, invocation):
    measured = metrics.measure("orders.place")(ends_with())
    for number in range(MAX_SERIES + 50):
        await measured(invocation(trigger=f"made-up-{number}"))
    counted = samples(metrics, "eventmesh_invocations_total")
    assert len(counted) == MAX_SERIES + 1
    other = {"function": "orders.place", "trigger": "other", "outcome": "other"}
    assert (other, 50) in counted


def test_what_others_count_is_read_at_each_scrape(metrics):
    numbers = {"throttled": 0, "waiting": 0}
    metrics.gauge("throttles_total", "orders.place", lambda: numbers["throttled"])
    metrics.gauge("waiting", "orders.place", lambda: numbers["waiting"])
    numbers |= {"throttled": 3, "waiting": 7}
    assert value(metrics, "eventmesh_throttles_total") == 3
    assert value(metrics, "eventmesh_waiting") == 7
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    kinds = {family.name: (family.type, family.documentation) for family in families}
    assert kinds["eventmesh_throttles"] == ("counter", WATCHED["throttles_total"])
    assert kinds["eventmesh_waiting"] == ("gauge", WATCHED["waiting"])


def test_several_sources_of_one_function_are_added_up(metrics):
    for number in (2, 3):
        metrics.gauge("retries_total", "orders.place", lambda number=number: number)
    metrics.gauge("retries_total", "orders.cancel", lambda: 4)
    assert samples(metrics, "eventmesh_retries_total") == [
        (FUNCTION, 5),
        ({"function": "orders.cancel"}, 4),
    ]


@pytest.mark.parametrize("name", ["", "Retries", "queue depth", "1st"])
def test_a_name_that_is_none_is_refused(metrics, name):
    with pytest.raises(DeclarationError, match="cannot be called"):
        metrics.gauge(name, "orders.place", lambda: 0)


async def test_everything_can_be_read_as_openmetrics(metrics, invocation):
    metrics.gauge("retries_total", "orders.place", lambda: 1)
    await metrics.measure("orders.place")(ends_with())(invocation(mode=ASYNC))
    (retries,) = samples(metrics, "eventmesh_retries_total", read_openmetrics, generate_openmetrics)
    assert retries == (FUNCTION, 1)


def test_two_hosts_in_one_process_count_apart_and_not_in_the_global_registry(clock):
    one, other = Metrics(clock), Metrics(clock)
    one.gauge("retries_total", "orders.place", lambda: 1)
    assert samples(other, "eventmesh_retries_total") == []
    assert b"eventmesh" not in generate_latest(REGISTRY)


def test_the_process_shows_its_own_numbers(metrics):
    text = generate_latest(metrics.registry).decode()
    assert "python_info{" in text
    assert "python_gc_collections_total{" in text
