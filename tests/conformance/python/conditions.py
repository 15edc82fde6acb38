"""Handlers of the suite `wait_for_condition`."""

from aws_durable_execution_sdk_python import WaitForConditionError
from aws_durable_execution_sdk_python.config import Duration, JitterStrategy
from aws_durable_execution_sdk_python.serdes import SerDes
from aws_durable_execution_sdk_python.waits import (
    WaitForConditionConfig,
    WaitStrategyConfig,
    create_wait_strategy,
)
from common import durable, fail


class HexSerDes(SerDes):
    """Records a text as hexadecimal digits."""

    def serialize(self, value, _):
        return value.encode().hex()

    def deserialize(self, data, _):
        return bytes.fromhex(data).decode()


def _polling(goes_on, start, *, delay=1, attempts=60, serdes=None):
    strategy = WaitStrategyConfig(
        should_continue_polling=goes_on,
        max_attempts=attempts,
        initial_delay=Duration.from_seconds(delay),
        backoff_rate=1,
        jitter_strategy=JitterStrategy.NONE,
    )
    return WaitForConditionConfig(create_wait_strategy(strategy), start, serdes)


def _increment(state, _):
    return state + 1


def _count(context, start, end, **options):
    return context.wait_for_condition(
        _increment, _polling(lambda state: state < end, start, **options)
    )


@durable("6-1")
def count(event, context):
    return _count(context, 0, event)


@durable("6-2")
def be_done(event, context):
    return context.wait_for_condition(
        lambda state, _: state, _polling(lambda state: state < event, 5)
    )


@durable("6-3")
def count_named(event, context):
    return context.wait_for_condition(
        _increment, _polling(lambda state: state < event, 0), name="poll-status"
    )


@durable("6-4")
def count_on(event, context):
    return _count(context, 5, event)


@durable("6-5")
def count_slowly(event, context):
    return _count(context, 0, event, delay=2)


@durable("6-6")
def exhaust(event, context):
    return context.wait_for_condition(_increment, _polling(lambda _: True, event, attempts=3))


@durable("6-7")
def break_down(event, context):
    return context.wait_for_condition(fail, _polling(lambda _: True, 0))


@durable("6-8")
def recover(event, context):
    try:
        return context.wait_for_condition(fail, _polling(lambda _: True, 0))
    except (RuntimeError, WaitForConditionError):
        return "recovered"


@durable("6-9")
def track(event, context):
    def check(state, _):
        attempts = state["attempts"] + 1
        return {"status": "DONE" if attempts == 2 else "PENDING", "attempts": attempts}

    start = {"status": "PENDING", "attempts": 0}
    return context.wait_for_condition(
        check, _polling(lambda state: state["status"] == "PENDING", start)
    )


@durable("6-10")
def find_nothing(event, context):
    return context.wait_for_condition(lambda *_: None, _polling(lambda _: False, None))


@durable("6-11")
def append(event, context):
    polling = _polling(lambda state: len(state) < 2, "", serdes=HexSerDes())
    return context.wait_for_condition(lambda state, _: state + "x", polling)


@durable("6-12")
def count_then_step(event, context):
    result = _count(context, 0, event)
    return context.step(lambda _: result * 10)


@durable("6-13")
def count_twice(event, context):
    return _count(context, _count(context, 0, 2), 4)
