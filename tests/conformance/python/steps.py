"""Handlers of the suite `step`."""

from aws_durable_execution_sdk_python import StepError, durable_step
from aws_durable_execution_sdk_python.config import Duration, StepConfig, StepSemantics
from aws_durable_execution_sdk_python.retries import RetryPresets
from common import NO_RETRY, SECOND, UppercaseSerDes, crash, durable, fail, retrying

AT_MOST_ONCE = StepSemantics.AT_MOST_ONCE_PER_RETRY


class TransientError(Exception):
    """A fault that goes away by itself."""


@durable("1-1")
def greet(event, context):
    return context.step(lambda _: f"Hello, {event}!")


@durable("1-2")
def greet_named(event, context):
    return context.step(lambda _: f"Hello, {event}!", name="custom_step_name")


@durable("1-3")
def chain(event, context):
    first = context.step(lambda _: "first")
    return context.step(lambda _: f"{first}_second")


@durable("1-4")
def nest(event, context):
    def build(_):
        user = {"name": event["name"], "tags": event["tags"]}
        return {"user": user, "count": len(event["tags"])}

    return context.step(build)


@durable("1-5")
def do_nothing(event, context):
    return context.step(lambda _: None)


@durable("1-6")
def shout(event, context):
    return context.step(lambda _: event, config=StepConfig(serdes=UppercaseSerDes()))


@durable("1-7")
def log(event, context):
    def greet(step):
        step.logger.info("Greeting step started for: %s", event)
        greeting = f"Hello, {event}!"
        step.logger.info("Greeting step completed with: %s", greeting)
        return greeting

    return context.step(greet)


@durable("1-8")
def wait(event, context):
    result = context.step(lambda _: "computed")
    context.wait(Duration.from_seconds(2))
    return result


@durable("1-9")
def replay(event, context):
    def compute(step):
        step.logger.info("step executed")
        return "cached_value"

    result = context.step(compute)
    context.wait(SECOND)
    return result


@durable("1-10")
def replay_failed(event, context):
    @durable_step
    def break_down(step):
        step.logger.info("step executed")
        fail()

    try:
        context.step(break_down(), config=NO_RETRY)
    except StepError as error:
        caught = str(error)
    context.wait(SECOND)
    return caught


@durable("1-11")
def recover(event, context):
    def try_again(step):
        if step.attempt == 1:
            fail()
        return "Operation succeeded"

    return context.step(try_again, config=retrying(3))


@durable("1-12")
def exhaust(event, context):
    return context.step(fail, config=retrying(4))


def _succeed_third(step):
    if step.attempt < 3:
        fail()
    return "third time lucky"


@durable("1-13")
def recover_by_default(event, context):
    return context.step(_succeed_third)


@durable("1-14")
def back_off(event, context):
    return context.step(_succeed_third, config=retrying(5, delay=2, rate=3))


@durable("1-15")
def retry_transient(event, context):
    def be_flaky(step):
        if step.attempt == 1:
            raise TransientError("not now")
        return "now"

    return context.step(be_flaky, config=retrying(3, types=[TransientError]))


@durable("1-16")
def refuse_transient(event, context):
    def be_flaky(_):
        raise TransientError("not now")

    return context.step(be_flaky, config=retrying(3, types=[TimeoutError]))


@durable("1-17")
def crash_once(event, context):
    def flake(step):
        step.logger.info(event)
        crash()

    config = StepConfig(retry_strategy=RetryPresets.none(), step_semantics=AT_MOST_ONCE)
    return context.step(flake, name="at_most_once_flaky_step", config=config)


@durable("1-18")
def crash_then_succeed(event, context):
    def flake(step):
        step.logger.info(event)
        if step.attempt == 1:
            crash()
        return "succeeded on second attempt"

    strategy = retrying(3).retry_strategy
    config = StepConfig(retry_strategy=strategy, step_semantics=AT_MOST_ONCE)
    return context.step(flake, config=config)


@durable("1-19")
def give_up(event, context):
    return context.step(fail, config=NO_RETRY)


@durable("1-20")
def fall_back(event, context):
    try:
        value = context.step(fail, config=NO_RETRY)
    except StepError:
        value = "fallback"
    return context.step(lambda _: f"{value}_result")
