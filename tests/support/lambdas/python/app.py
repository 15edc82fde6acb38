"""A Lambda function as people write it: it knows nothing of eventmesh."""

import os
import time
import urllib.request
from pathlib import Path


def handler(event, context):
    print("handling", context.aws_request_id)
    if not isinstance(event, dict):
        return event
    if "Records" in event:
        failed = [each for each in event["Records"] if each["body"] == '"bad"']
        return {"batchItemFailures": [{"itemIdentifier": each["messageId"]} for each in failed]}
    if "rawPath" in event:
        return {
            "statusCode": 201,
            "headers": {"X-Path": event["rawPath"], "Content-Type": "text/plain"},
            "cookies": ["a=1", "b=2"],
            "body": event["requestContext"]["http"]["method"] + " " + event.get("body", ""),
        }
    return ACTIONS[event.get("do", "tell")](event, context)


def tell(event, context):
    return {
        "event": event,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "left": context.get_remaining_time_in_millis(),
        "environment": dict(os.environ),
        "pid": os.getpid(),
        "folder": str(Path.cwd()),
    }


def fail(event, context):
    raise KeyError("nothing of that name")


def sleep(event, context):
    time.sleep(600)


def end(event, context):
    print("the last words")
    os._exit(7)


def eat(event, context):
    eaten = bytearray(300 * 2**20)
    time.sleep(600)  # Until whatever limits it has looked.
    return len(eaten)


def stop(event, context):
    os._exit(0)


def kill(event, context):
    os.kill(os.getpid(), 9)


def crash(event, context):
    os.kill(os.getpid(), 11)


def confuse(event, context):
    return {1, 2}


def grow(event, context):
    return "x" * event["size"]


def intrude(event, context):
    """Ask for the next invocation of another instance, at its own Runtime API."""
    url = f"http://{event['address']}/2018-06-01/runtime/invocation/next"
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.status
    except OSError as error:
        return type(error).__name__


ACTIONS = {
    each.__name__: each
    for each in (tell, fail, sleep, end, eat, stop, kill, crash, confuse, grow, intrude)
}
