"""Handlers of the suite `child`."""

import time

from aws_durable_execution_sdk_python import ChildContextError
from aws_durable_execution_sdk_python.config import ChildConfig
from common import NO_RETRY, SECOND, UppercaseSerDes, crash, durable, fail, is_first, retrying

CHECKPOINT_SECONDS = 1.0
"""Longer than the start of a step takes to be recorded, which a step does not wait for."""


@durable("3-1")
def echo(event, context):
    return context.run_in_child_context(lambda child: child.step(lambda _: event), name="child")


@durable("3-2")
def echo_named(event, context):
    return context.run_in_child_context(
        lambda child: child.step(lambda _: event["value"]), name=event["name"]
    )


@durable("3-3")
def chain(event, context):
    def run(child):
        first = child.step(lambda _: event)
        return child.step(lambda _: first)

    return context.run_in_child_context(run, name="child")


@durable("3-4")
def break_down(event, context):
    return context.run_in_child_context(
        lambda child: child.step(fail, config=NO_RETRY), name="child"
    )


@durable("3-5")
def recover(event, context):
    try:
        context.run_in_child_context(lambda child: child.step(fail, config=NO_RETRY), name="child")
    except ChildContextError:
        return context.step(lambda _: event)
    return None


@durable("3-6")
def nest(event, context):
    def run(outer):
        outer.step(lambda _: event)
        return outer.run_in_child_context(lambda inner: inner.step(lambda _: event), name="inner")

    return context.run_in_child_context(run, name="outer")


@durable("3-7")
def retry(event, context):
    def try_again(step):
        if step.attempt == 1:
            fail()
        return event

    return context.run_in_child_context(
        lambda child: child.step(try_again, config=retrying(3)), name="child"
    )


@durable("3-8")
def exhaust(event, context):
    return context.run_in_child_context(
        lambda child: child.step(fail, config=retrying(2)), name="child"
    )


@durable("3-9")
def replay(event, context):
    result = context.run_in_child_context(lambda child: child.step(lambda _: event), name="child")
    context.wait(SECOND)
    return result


@durable("3-10")
def wait_inside(event, context):
    def run(child):
        result = child.step(lambda _: event)
        child.wait(SECOND)
        return result

    return context.run_in_child_context(run, name="child")


def _log_always(child, text):
    # The logger of a context says nothing while it replays, unless it is told otherwise.
    child.logger.with_is_replaying(lambda: False).info(text)


@durable("3-11")
def be_large(event, context):
    def run(child):
        _log_always(child, event)
        return child.step(lambda _: "x") * 300_000

    large = context.run_in_child_context(run, name="child")
    context.wait(SECOND)
    return len(large)


@durable("3-12")
def crash_inside(event, context):
    def run_or_crash(_):
        if is_first(f"crash-inside-{event}"):
            time.sleep(CHECKPOINT_SECONDS)
            crash()
        return event

    return context.run_in_child_context(lambda child: child.step(run_or_crash), name="child")


@durable("3-13")
def wait_only(event, context):
    def run(child):
        child.wait(SECOND)
        return event

    result = context.run_in_child_context(run, name="child")
    return context.step(lambda _: result)


@durable("3-14")
def shout(event, context):
    return context.run_in_child_context(
        lambda child: child.step(lambda _: event),
        name="child",
        config=ChildConfig(serdes=UppercaseSerDes()),
    )


@durable("3-15")
def fail_at_once(event, context):
    return context.run_in_child_context(fail, name="child")


@durable("3-16")
def do_nothing(event, context):
    return context.run_in_child_context(lambda _: None, name="child")


@durable("3-17")
def log(event, context):
    def run(child):
        _log_always(child, event)
        return event

    result = context.run_in_child_context(run, name="child")
    context.wait(SECOND)
    return result


@durable("3-18")
def wait_inside_and_after(event, context):
    def run(child):
        result = child.step(lambda _: event)
        child.wait(SECOND)
        return result

    result = context.run_in_child_context(run, name="child")
    result = context.step(lambda _: result)
    context.wait(SECOND)
    return result
