"""Handlers of the suite `parallel`."""

from aws_durable_execution_sdk_python import ParallelBranch
from aws_durable_execution_sdk_python.config import (
    CompletionConfig,
    Duration,
    NestingType,
    ParallelConfig,
)
from batches import WrappingSerDes, summarise, summarise_counts
from common import durable, fail


def _give(value):
    return lambda _: value


def _step(value):
    return lambda branch: branch.step(lambda _: value)


def _run(context, name, *branches, most=1, item_serdes=None, nesting=NestingType.NESTED, **until):
    config = ParallelConfig(
        max_concurrency=most,
        completion_config=CompletionConfig(**until),
        item_serdes=item_serdes,
        nesting_type=nesting,
    )
    return context.parallel(branches, name=name, config=config)


@durable("8-1")
def run_steps(event, context):
    return _run(context, "parallel", _step("task-1"), _step("task-2")).get_results()


@durable("8-2")
def run_unnamed(event, context):
    config = ParallelConfig(max_concurrency=1)
    return context.parallel([_give("alpha"), _give("beta")], config=config).get_results()


@durable("8-3")
def run_named_branches(event, context):
    first = ParallelBranch(_give("one"), name="first")
    second = ParallelBranch(_give("two"), name="second")
    return _run(context, "named", first, second).get_results()


@durable("8-4")
def mix_types(event, context):
    return _run(context, "hetero", _give("hello"), _give(42), _give({"k": "v"})).get_results()


@durable("8-5")
def run_nothing(event, context):
    return _run(context, "empty").get_results()


@durable("8-6")
def fail_fast(event, context):
    branches = _give("ok"), fail, _give("never")
    return summarise(_run(context, "failfast", *branches, tolerated_failure_count=0))


@durable("8-7")
def raise_error(event, context):
    branches = fail, _give("never")
    _run(context, "throwing", *branches, tolerated_failure_count=0).throw_if_error()


@durable("8-8")
def need_two(event, context):
    branches = [_give(f"r{number}") for number in range(4)]
    result = _run(context, "min-successful", *branches, min_successful=2)
    return summarise(result, "completionReason", "successCount", "totalCount")


@durable("8-9")
def tolerate_one(event, context):
    branches = _give("r0"), fail, _give("r2")
    return summarise(_run(context, "tolerated", *branches, tolerated_failure_count=1))


@durable("8-10")
def exceed_tolerance(event, context):
    branches = fail, fail, _give("never")
    result = _run(context, "tolerated-exceeded", *branches, tolerated_failure_count=1)
    return summarise_counts(result)


@durable("8-11")
def run_two_at_once(event, context):
    branches = [_give(f"r{number}") for number in range(3)]
    return _run(context, "concurrent", *branches, most=2).get_results()


@durable("8-12")
def run_flat(event, context):
    result = _run(context, "flat", _step("fa"), _step("fb"), nesting=NestingType.FLAT)
    return result.get_results()


@durable("8-13")
def exceed_percentage(event, context):
    branches = fail, fail, _give("never"), _give("never")
    result = _run(context, "tolerated-pct", *branches, tolerated_failure_percentage=25)
    return summarise_counts(result)


@durable("8-14")
def suspend(event, context):
    def wait(branch):
        branch.wait(Duration.from_seconds(2))
        return "b1"

    return _run(context, "replay", _step("b0"), wait).get_results()


@durable("8-15")
def wrap(event, context):
    serdes = WrappingSerDes()
    return _run(context, "serde", _give("x"), _give("y"), item_serdes=serdes).get_results()


@durable("8-16")
def fail_all(event, context):
    return summarise(_run(context, "all-fail", fail, fail, fail, tolerated_failure_count=3))


@durable("8-17")
def need_three(event, context):
    branches = _give("r0"), fail, _give("r2")
    return summarise(_run(context, "min-not-reached", *branches, min_successful=3))


@durable("8-18")
def need_three_tolerate_one(event, context):
    branches = fail, fail, _give("never"), _give("never")
    until = {"min_successful": 3, "tolerated_failure_count": 1}
    return summarise_counts(_run(context, "combined", *branches, **until))


@durable("8-19")
def allow_none(event, context):
    return _run(context, "bad-concurrency", _give("a"), _give("b"), most=0).get_results()


@durable("8-20")
def count(event, context):
    branches = _give("r0"), fail, _give("r2")
    result = _run(context, "accessors", *branches, tolerated_failure_count=1)
    return {
        "hasFailure": result.has_failure,
        "successCount": len(result.succeeded()),
        "failureCount": len(result.failed()),
        "errorCount": len(result.get_errors()),
    }


@durable("8-21")
def nest(event, context):
    def run(branch):
        return _run(branch, "inner", _step("i1"), _step("i2")).get_results()

    return _run(context, "outer", run).get_results()


@durable("8-22")
def reach_percentage(event, context):
    branches = fail, _give("r1"), _give("r2"), _give("r3")
    return summarise(_run(context, "pct-boundary", *branches, tolerated_failure_percentage=25))
