"""Handlers of the suite `wait`."""

from aws_durable_execution_sdk_python.config import Duration
from common import durable


@durable("2-1")
def pause(event, context):
    context.wait(Duration.from_seconds(2))


@durable("2-2")
def pause_named(event, context):
    context.wait(Duration.from_seconds(2), name="custom_wait_name")


@durable("2-3")
def pause_twice(event, context):
    for name in ("wait-1", "wait-2"):
        context.wait(Duration.from_seconds(2), name=name)
    return {"completedWaits": 2}


@durable("2-4")
def pause_a_minute(event, context):
    context.wait(Duration.from_minutes(1))


@durable("2-5")
def pause_an_hour(event, context):
    context.wait(Duration.from_hours(1))
