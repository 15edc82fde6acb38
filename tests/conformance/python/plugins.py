"""Handlers of the suite `plugin`, and the plugins that they have."""

import json

from aws_durable_execution_sdk_python.config import Duration
from aws_durable_execution_sdk_python.plugin import DurableInstrumentationPlugin, OperationType
from common import NO_RETRY, durable, fail, retrying

NAME = "CONFPLUGIN"


class Plugin(DurableInstrumentationPlugin):
    """Prints a line for each of the hooks that it is to tell of."""

    def __init__(self, name, hooks, arn):
        self._name = name
        self._hooks = hooks
        self._arn = arn

    def _tell(self, hook, **fields):
        if hook in self._hooks:
            record = {"plugin": self._name, "hook": hook, "durableExecutionArn": self._arn}
            print(json.dumps(record | fields))

    def _tell_of(self, info, hook, **fields):
        if info.operation_type is OperationType.STEP:
            self._tell(hook, op=info.operation_id, **fields)

    def on_invocation_start(self, info):
        self._tell("invocation-start", first=info.is_first_invocation)

    def on_invocation_end(self, info):
        self._tell("invocation-end", status=info.status.value)

    def on_operation_start(self, info):
        self._tell_of(info, "operation-start")

    def on_operation_end(self, info):
        self._tell_of(info, "operation-end", status=info.status.value)

    def on_user_function_start(self, info):
        self._tell_of(info, "attempt-start", n=info.attempt)

    def on_user_function_end(self, info):
        self._tell_of(info, "attempt-end", n=info.attempt, outcome=info.outcome.value)


class FaultyPlugin(Plugin):
    """Fails in every hook, once it has told of it."""

    def _tell(self, hook, **fields):
        super()._tell(hook)
        fail()


class Factory:
    """Makes a plugin for each invocation, which learns whose it is."""

    def __init__(self, *hooks, name=NAME, kind=Plugin):
        self._hooks = frozenset(hooks)
        self._name = name
        self._kind = kind

    def create_plugin(self, info, /):
        return self._kind(self._name, self._hooks, info.execution_arn)


INVOCATIONS = ("invocation-start", "invocation-end")
OPERATIONS = ("operation-start", "operation-end")
ATTEMPTS = ("attempt-start", "attempt-end")


def _greet(event, context):
    def greet(step):
        step.logger.info("Greeting step running for: %s", event)
        return f"Hello, {event}!"

    return context.step(greet)


@durable("10-1", plugins=[Factory(*INVOCATIONS)])
def tell_invocations(event, context):
    return _greet(event, context)


@durable("10-2", plugins=[Factory(*OPERATIONS)])
def tell_operations(event, context):
    return _greet(event, context)


@durable("10-3", plugins=[Factory(*ATTEMPTS)])
def tell_attempts(event, context):
    def try_again(step):
        if step.attempt == 1:
            fail()
        return "Operation succeeded"

    return context.step(try_again, config=retrying(3))


FAULTY = Factory(*INVOCATIONS, *OPERATIONS, *ATTEMPTS, name="CONFPLUGIN-FAULTY", kind=FaultyPlugin)


@durable("10-4", plugins=[FAULTY])
def fail_in_plugin(event, context):
    return _greet(event, context)


BOTH = [Factory(*INVOCATIONS, name=f"CONFPLUGIN-{letter}") for letter in "AB"]


@durable("10-5", plugins=BOTH)
def tell_twice(event, context):
    return _greet(event, context)


@durable("10-6", plugins=[Factory(*INVOCATIONS)])
def tell_replay(event, context):
    context.wait(Duration.from_seconds(2))


@durable("10-7", plugins=[Factory(*INVOCATIONS)])
def tell_failure(event, context):
    return context.step(fail, config=NO_RETRY)
