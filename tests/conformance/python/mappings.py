"""Handlers of the suite `map`."""

from aws_durable_execution_sdk_python.config import CompletionConfig, MapConfig, NestingType
from aws_durable_execution_sdk_python.serdes import JsonSerDes
from batches import JoiningSerDes, PrefixSerDes, summarise, summarise_counts
from common import SECOND, durable, fail

FAIL = "fail"
LARGE = 70_000
"""Characters of each of four results, which together have more than the SDK records inline."""


def _config(most=1, until=None, **options):
    completion = CompletionConfig(**(until or {}))
    return MapConfig(max_concurrency=most, completion_config=completion, **options)


def _give(_context, item, _index, _items):
    return fail() if item == FAIL else item


def _shout(_context, item, _index, _items):
    return item.upper()


def _step(context, item, _index, _items):
    return context.step(lambda _: item)


def _map(context, name, *items, **until):
    return context.map(items, _give, name=name, config=_config(until=until))


@durable("9-1")
def greet(event, context):
    def greet(iteration, item, _index, _items):
        return iteration.step(lambda _: f"Hello, {item}!")

    return context.map(event, greet, name="map", config=_config()).get_results()


@durable("9-2")
def double(event, context):
    return context.map(event, lambda _c, item, _i, _s: item * 2, config=_config()).get_results()


@durable("9-3")
def add_index(event, context):
    def add(_context, item, index, _items):
        return item + index

    return context.map(event, add, name="indexed", config=_config()).get_results()


@durable("9-4")
def map_nothing(event, context):
    return context.map(event, _give, name="empty").get_results()


@durable("9-5")
def fail_fast(event, context):
    return summarise(_map(context, "failfast", "ok", FAIL, "never", tolerated_failure_count=0))


@durable("9-6")
def raise_error(event, context):
    _map(context, "throwing", FAIL, "never", tolerated_failure_count=0).throw_if_error()


@durable("9-7")
def need_two(event, context):
    result = _map(context, "min-successful", "r0", "r1", "r2", "r3", min_successful=2)
    return summarise(result, "completionReason", "successCount", "totalCount")


@durable("9-8")
def tolerate_one(event, context):
    return summarise(_map(context, "tolerated", "r0", FAIL, "r2", tolerated_failure_count=1))


@durable("9-9")
def exceed_tolerance(event, context):
    items = FAIL, FAIL, "never"
    return summarise_counts(_map(context, "tolerated-exceeded", *items, tolerated_failure_count=1))


@durable("9-10")
def exceed_percentage(event, context):
    items = FAIL, FAIL, "never", "never"
    return summarise_counts(_map(context, "tolerated-pct", *items, tolerated_failure_percentage=25))


@durable("9-11")
def map_two_at_once(event, context):
    items = ["r0", "r1", "r2"]
    return context.map(items, _give, name="concurrent", config=_config(most=2)).get_results()


@durable("9-12")
def map_flat(event, context):
    config = _config(nesting_type=NestingType.FLAT)
    return context.map(["fa", "fb"], _step, name="flat", config=config).get_results()


@durable("9-13")
def name_iterations(event, context):
    def times_ten(_context, item, _index, _items):
        return item * 10

    config = _config(item_namer=lambda item, _: f"item-{item}")
    return context.map(event, times_ten, name="named-items", config=config).get_results()


@durable("9-14")
def wrap(event, context):
    config = _config(item_serdes=PrefixSerDes())
    return context.map(["x", "y"], _shout, name="serdes", config=config).get_results()


@durable("9-15")
def suspend(event, context):
    def wait_for_second(iteration, item, index, _items):
        if index == 1:
            iteration.wait(SECOND)
        return iteration.step(lambda _: item)

    items = ["r0", "r1"]
    return context.map(items, wait_for_second, name="suspend", config=_config()).get_results()


@durable("9-16")
def be_large(event, context):
    def repeat(_context, item, _index, _items):
        return item * LARGE

    result = context.map(list("abcd"), repeat, name="large", config=_config())
    return summarise(result, "successCount", "totalCount")


@durable("9-17")
def wait_after(event, context):
    result = context.map(["a", "b"], _shout, name="then-wait", config=_config())
    context.wait(SECOND)
    return result.get_results()


@durable("9-18")
def wait_after_failure(event, context):
    result = _map(context, "fail-then-wait", "ok", FAIL, tolerated_failure_count=1)
    context.wait(SECOND)
    return summarise(result)


def _join(context, name):
    # With no serdes of their own, items would be recorded by that of the whole.
    config = _config(serdes=JoiningSerDes(), item_serdes=JsonSerDes())
    return context.map(["x", "y"], _shout, name=name, config=config)


@durable("9-19")
def join(event, context):
    return _join(context, "op-serde").get_results()


@durable("9-20")
def join_and_wait(event, context):
    result = _join(context, "op-serde-replay")
    context.wait(SECOND)
    return result.get_results()
