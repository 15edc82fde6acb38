"""Handlers of the suite `invoke`, and the functions that they invoke."""

import json
import os

from aws_durable_execution_sdk_python import InvokeError
from aws_durable_execution_sdk_python.config import InvokeConfig
from aws_durable_execution_sdk_python.serdes import JsonSerDes, SerDes
from common import SECOND, durable
from common import fail as fail_always

ECHO = os.environ.get("ECHO_FUNCTION", "")
FAILING = os.environ.get("FAILING_FUNCTION", "")
MEASURE = os.environ.get("MEASURE_FUNCTION", "")
"""The names of the functions below, as the template gives them."""

LARGE = 200_000
"""Characters of a payload that is near AWS's limit for asynchronous invocations: 256 KiB."""


class ShoutSerDes(SerDes):
    """Writes JSON, and reads it, with texts in upper case."""

    def __init__(self, *, writes):
        self._writes = writes

    def serialize(self, value, _):
        text = json.dumps(value)
        return text.upper() if self._writes else text

    def deserialize(self, data, _):
        return json.loads(data) if self._writes else data.upper()


@durable()
def echo(event, context):
    return event


@durable()
def fail(event, context):
    fail_always()


@durable()
def measure(event, context):
    return len(event)


@durable("5-1", "5-3", "5-4")
def call(event, context):
    return context.invoke(ECHO, event)


@durable("5-2")
def call_named(event, context):
    return context.invoke(ECHO, event["payload"], name=event["name"])


@durable("5-5")
def call_failing(event, context):
    return context.invoke(FAILING, event)


def _call_and_recover(context, event):
    try:
        return context.invoke(FAILING, event)
    except InvokeError:
        return "fallback"


@durable("5-6")
def recover(event, context):
    return _call_and_recover(context, event)


@durable("5-7")
def send_much(event, context):
    return context.invoke(MEASURE, "x" * LARGE)


@durable("5-8")
def call_for_tenant(event, context):
    config = InvokeConfig(tenant_id=event["tenantId"])
    return context.invoke(ECHO, event["payload"], config=config)


@durable("5-9")
def replay(event, context):
    result = context.invoke(ECHO, "once")
    context.wait(SECOND)
    return result


@durable("5-10")
def replay_failed(event, context):
    result = _call_and_recover(context, event)
    context.wait(SECOND)
    return result


@durable("5-11")
def step_then_call(event, context):
    return context.invoke(ECHO, context.step(lambda _: "from a step"))


@durable("5-12")
def call_then_step(event, context):
    result = context.invoke(ECHO, "for a step")
    return context.step(lambda _: result)


@durable("5-13")
def call_inside(event, context):
    return context.run_in_child_context(lambda child: child.invoke(ECHO, "inside"), name="child")


@durable("5-14")
def call_twice(event, context):
    return [context.invoke(ECHO, 1), context.invoke(ECHO, 2)]


@durable("5-15")
def shout(event, context):
    config = InvokeConfig(serdes_payload=ShoutSerDes(writes=True), serdes_result=JsonSerDes())
    return context.invoke(ECHO, event, config=config)


@durable("5-16")
def hear_shouting(event, context):
    config = InvokeConfig(serdes_payload=JsonSerDes(), serdes_result=ShoutSerDes(writes=False))
    return context.invoke(ECHO, event, config=config)
