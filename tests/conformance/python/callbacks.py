"""Handlers of the suite `callback`."""

import json
from datetime import datetime

from aws_durable_execution_sdk_python import CallbackError
from aws_durable_execution_sdk_python.config import CallbackConfig, Duration
from aws_durable_execution_sdk_python.serdes import SerDes
from common import durable


class JsonNumberSerDes(SerDes):
    """Reads a payload as the number that it is."""

    def serialize(self, value, _):
        return str(value)

    def deserialize(self, data, _):
        return int(data)


class MessageSerDes(SerDes):
    """Reads a message whose time is a text as one whose time is in seconds since the epoch."""

    def serialize(self, value, _):
        return json.dumps(value)

    def deserialize(self, data, _):
        message = json.loads(data)
        time = datetime.fromisoformat(message["timestamp"])
        return message | {"timestamp": int(time.timestamp())}


def _timing_out(seconds):
    return CallbackConfig(timeout=Duration.from_seconds(seconds))


def _beating(seconds):
    return CallbackConfig(heartbeat_timeout=Duration.from_seconds(seconds))


@durable("4-1", "4-6")
def ask(event, context):
    return context.create_callback(event).result()


@durable("4-2")
def ask_approval(event, context):
    return context.create_callback("approval").result()


@durable("4-3")
def ask_in_time(event, context):
    return context.create_callback(event, _timing_out(5)).result()


@durable("4-4")
def ask_with_short_heartbeat(event, context):
    return context.create_callback(event, _beating(5)).result()


@durable("4-5")
def ask_with_heartbeat(event, context):
    return context.create_callback(event, _beating(10)).result()


@durable("4-7")
def ask_and_work(event, context):
    callback = context.create_callback(event)
    context.step(lambda _: "worked")
    return callback.result()


@durable("4-8")
def ask_in_time_and_work(event, context):
    callback = context.create_callback(event, _timing_out(5))
    context.step(lambda _: "worked")
    return callback.result()


@durable("4-9", "4-10", is_prompt=True)
def ask_and_wait(event, context):
    callback = context.create_callback(event)
    context.wait(Duration.from_seconds(5))
    return callback.result()


@durable("4-11", is_prompt=True)
def ask_in_time_and_wait(event, context):
    callback = context.create_callback(event, _timing_out(3))
    context.wait(Duration.from_seconds(6))
    return callback.result()


def _ask_then_wait(context, name, config=None):
    try:
        result = context.create_callback(name, config).result()
    except CallbackError as error:
        result = str(error)
    context.wait(Duration.from_seconds(2))
    return result


@durable("4-12", "4-13")
def ask_then_wait(event, context):
    return _ask_then_wait(context, event)


@durable("4-14")
def ask_in_time_then_wait(event, context):
    return _ask_then_wait(context, event, _timing_out(3))


@durable("4-15")
def read_message(event, context):
    callback = context.create_callback(event, CallbackConfig(serdes=MessageSerDes()))
    return {"received": callback.result()}


@durable("4-16")
def read_number(event, context):
    callback = context.create_callback(event, CallbackConfig(serdes=JsonNumberSerDes()))
    count = callback.result()
    return {"count": count, "doubled": 2 * count}


@durable("4-17")
def ask_one_after_another(event, context):
    return [context.create_callback(name).result() for name in event]


@durable("4-18", is_prompt=True)
def ask_both(event, context):
    callbacks = [context.create_callback(name) for name in event]
    return [callback.result() for callback in callbacks]


@durable("4-19", is_prompt=True)
def ask_both_for_the_last_first(event, context):
    first, second = [context.create_callback(name) for name in event]
    later = second.result()
    return [first.result(), later]
