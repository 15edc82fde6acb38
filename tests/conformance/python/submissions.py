"""Handlers of the suite `wait_for_callback`."""

from aws_durable_execution_sdk_python import CallbackError
from aws_durable_execution_sdk_python.config import Duration, WaitForCallbackConfig
from aws_durable_execution_sdk_python.serdes import JsonSerDes
from common import SECOND, durable, fail, retrying


def _submit(callback_id, context):
    context.logger.info("somebody else has the callback now")


def _timing_out(seconds):
    return WaitForCallbackConfig(timeout=Duration.from_seconds(seconds))


def _beating(seconds):
    return WaitForCallbackConfig(heartbeat_timeout=Duration.from_seconds(seconds))


@durable("7-1", "7-4", "7-15")
def submit(event, context):
    return context.wait_for_callback(_submit, name=event)


@durable("7-2")
def submit_approval(event, context):
    return context.wait_for_callback(_submit, name="approval")


@durable("7-3")
def submit_anonymous(event, context):
    return context.wait_for_callback(lambda _id, _context: None)


@durable("7-5")
def submit_in_time(event, context):
    return context.wait_for_callback(_submit, name=event, config=_timing_out(3))


@durable("7-6")
def recover(event, context):
    try:
        return context.wait_for_callback(_submit, name=event)
    except CallbackError:
        return "recovered"


@durable("7-7")
def fail_to_submit(event, context):
    config = WaitForCallbackConfig(retry_strategy=retrying(2).retry_strategy)
    return context.wait_for_callback(fail, name=event, config=config)


@durable("7-8")
def submit_inside(event, context):
    return context.run_in_child_context(
        lambda child: child.wait_for_callback(_submit, name=event), name="wrapper"
    )


@durable("7-9")
def submit_twice(event, context):
    context.wait_for_callback(_submit, name="first")
    return context.wait_for_callback(_submit, name="second")


@durable("7-10")
def submit_after_others(event, context):
    context.wait(SECOND)
    context.step(lambda _: "fixed")
    return context.wait_for_callback(_submit, name=event)


@durable("7-11")
def read_json(event, context):
    config = WaitForCallbackConfig(serdes=JsonSerDes())
    return context.wait_for_callback(_submit, name=event, config=config)["status"]


@durable("7-12")
def submit_with_short_heartbeat(event, context):
    return context.wait_for_callback(_submit, name=event, config=_beating(5))


@durable("7-13")
def submit_with_heartbeat(event, context):
    return context.wait_for_callback(_submit, name=event, config=_beating(10))


@durable("7-14")
def recover_in_time(event, context):
    try:
        return context.wait_for_callback(_submit, name=event, config=_timing_out(3))
    except CallbackError:
        return "timed-out-handled"
