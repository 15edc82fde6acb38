"""Durable functions as people write them for AWS, with AWS's SDK for Python."""

import os

import boto3
from aws_durable_execution_sdk_python import durable_execution
from aws_durable_execution_sdk_python.config import Duration, StepConfig
from aws_durable_execution_sdk_python.retries import RetryDecision
from aws_durable_execution_sdk_python.waits import (
    WaitForConditionConfig,
    WaitForConditionDecision,
)
from botocore.exceptions import ClientError

SECOND = Duration.from_seconds(1)


def steps(event, context):
    first = context.step(lambda _: event["n"] + 1, name="first")
    context.wait(SECOND, name="pause")
    return context.step(lambda _: first * 2, name="second")


def retried(event, context):
    def charge(step):
        if step.attempt == 1:
            raise ValueError("not yet")
        return step.attempt

    again = StepConfig(retry_strategy=lambda _, attempt: RetryDecision.retry(SECOND))
    return context.step(charge, name="charge", config=again)


def callback(event, context):
    opened = context.create_callback("approval")
    return {"answer": opened.result()}


def invoke(event, context):
    return context.invoke(event["called"], {"what": "steps", "n": 4}, name="call")


def child(event, context):
    def inside(inner):
        return inner.step(lambda _: "inside", name="step")

    return context.run_in_child_context(inside, name="part")


def many(event, context):
    def one(inner, item, index, items):
        return inner.step(lambda _: item * 10, name="one")

    mapped = context.map([1, 2, 3], one, name="map").get_results()
    branches = [lambda c: c.step(lambda _: "a"), lambda c: c.step(lambda _: "b")]
    return [mapped, context.parallel(branches, name="parallel").get_results()]


def poll(event, context):
    def decide(state, attempt):
        if state >= 2:
            return WaitForConditionDecision.stop_polling()
        return WaitForConditionDecision.continue_waiting(SECOND)

    config = WaitForConditionConfig(wait_strategy=decide, initial_state=0)
    return context.wait_for_condition(lambda state, _: state + 1, config, name="poll")


def tell_itself(event, context):
    """Complete the callback of this very execution, as code with the id may."""
    opened = context.create_callback("self")

    def complete(_):
        client = boto3.client("lambda")
        client.send_durable_execution_callback_success(CallbackId=opened.callback_id, Result=b"me")

    context.step(complete, name="complete")
    return opened.result()


def intrude(event, context):
    """Try what an instance may not: it returns the types of the errors."""

    def attempt(_):
        client, errors = boto3.client("lambda"), []
        calls = [
            lambda: client.checkpoint_durable_execution(
                DurableExecutionArn=event["other"], CheckpointToken="MS4w"
            ),
            lambda: client.get_durable_execution_state(
                DurableExecutionArn=event["other"], CheckpointToken="MS4w"
            ),
            lambda: client.stop_durable_execution(DurableExecutionArn=event["other"]),
            lambda: client.invoke(FunctionName="shop.handler"),
        ]
        for call in calls:
            try:
                call()
            except ClientError as error:
                errors.append(error.response["Error"]["Code"])
        return errors

    return context.step(attempt, name="attempt")


def whose(event, context):
    return [context.lambda_context.tenant_id, os.environ["AWS_ENDPOINT_URL_LAMBDA"][:17]]


def for_whom(event, context):
    """Return as whom a later turn invokes others."""
    context.wait(SECOND)
    return context.invoke("shop.whoami", {}, name="call")


def trace(event, context):
    """Return the trace of the first turn, of one after it, and of what is invoked there."""

    def read(_):
        return os.environ.get("_X_AMZN_TRACE_ID")

    first = context.step(read, name="first")
    if event.get("called"):
        return [first]
    context.wait(SECOND)
    second = context.step(read, name="second")
    called = {"what": "trace", "called": True}
    return [first, second, *context.invoke("shop.handler", called, name="call")]


def fail(event, context):
    raise ValueError("it went wrong")


@durable_execution
def handler(event, context):
    return globals()[event["what"]](event, context)


def no_handler_of_the_sdk(event, context):
    return {"what": "is this?"}
