"""What boto3 gets when a Lambda function fails: AWS's own words, and the log."""

import asyncio
import base64
import json
import logging
import re
import sys
from contextlib import asynccontextmanager

import boto3
import pytest
from botocore.config import Config

from eventmesh import Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.http.source import serve_functions
from eventmesh.model.settings import Settings

CODE = "../../support/lambdas/python"
OURS = f"python3.{sys.version_info.minor}"
HANDLERS = {
    "works": "app.handler",
    "unimportable": "nothing.handler",
    "unfound": "app.nothing",
    "unstartable": "bad_start.handler",
}

EXITED = "RequestId: ID Error: Runtime exited"
LARGE = "Response payload size exceeded maximum allowed payload size (6291456 bytes)."
UNMARSHALLED = "Unable to marshal response: Object of type set is not JSON serializable"
UNIMPORTED = "Unable to import module 'nothing': No module named 'nothing'"
TIMED_OUT = "RequestId: ID Error: Task timed out after 6.00 seconds"

SEGMENTATION = EXITED + " with error: signal: segmentation fault"

# What the caller of AWS Lambda gets: the type, and the message with ID for the request's id.
TABLE = [
    ("works", {"do": "end"}, "Runtime.ExitError", EXITED + " with error: exit status 7"),
    ("works", {"do": "stop"}, "Runtime.ExitError", EXITED + " without providing a reason"),
    ("works", {"do": "kill"}, "Runtime.ExitError", EXITED + " with error: signal: killed"),
    (
        "works",
        {"do": "crash"},
        "Runtime.ExitError",
        SEGMENTATION,
    ),
    ("works", {"do": "eat"}, "Runtime.OutOfMemory", EXITED + " with error: signal: killed"),
    ("works", {"do": "grow", "size": 6 * 2**20}, "Function.ResponseSizeTooLarge", LARGE),
    ("works", {"do": "fail"}, "KeyError", "'nothing of that name'"),
    ("works", {"do": "confuse"}, "Runtime.MarshalError", UNMARSHALLED),
    ("unimportable", {}, "Runtime.ImportModuleError", UNIMPORTED),
    ("unfound", {}, "Runtime.HandlerNotFound", "Handler 'nothing' missing on module 'app'"),
    ("unstartable", {}, "Runtime.ExitError", EXITED + " with error: exit status 9"),
]


@asynccontextmanager
async def serve(timeout, clock=None):
    """Yield a client of a service that has the functions."""
    service = Service("shop")
    options = {"runtime": OURS, "memory": "96M", "timeout": timeout, "instances": 1}
    for name, handler in HANDLERS.items():
        service.lambda_function(name, code=CODE, handler=handler, **options)
    settings = Settings(http_port=0, grace=5)
    async with (
        MemoryBroker(clock) as broker,
        host_services([service], broker, settings, http=serve_functions, clock=clock) as host,
    ):
        yield boto3.client(
            "lambda",
            endpoint_url=host.addresses["http"],
            region_name="eu-central-1",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=300),
        )


@pytest.fixture
async def client():
    async with serve(timeout=60) as client:
        yield client


async def invoke(client, name, event):
    def call():
        answer = client.invoke(
            FunctionName=f"shop.{name}", Payload=json.dumps(event), LogType="Tail"
        )
        return answer, json.loads(answer["Payload"].read())

    answer, payload = await asyncio.to_thread(call)
    log = base64.b64decode(answer["LogResult"]).decode()
    return answer, payload, log


@pytest.mark.parametrize(("name", "event", "kind", "message"), TABLE)
async def test_an_error_is_told_as_aws_tells_it(client, name, event, kind, message):
    check(*await invoke(client, name, event), kind, message)


def check(answer, payload, log, kind, message):
    id = answer["ResponseMetadata"]["RequestId"]
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    assert answer["ExecutedVersion"] == "$LATEST"
    assert payload["errorType"] == kind
    assert payload["errorMessage"] == message.replace("ID", id, 1)
    assert re.search(rf"^START RequestId: {id} Version: \$LATEST$", log, re.MULTILINE)
    assert re.search(rf"^REPORT RequestId: {id}\tDuration: [\d.]+ ms\t", log, re.MULTILINE)
    timed_out = f"{id} Task timed out after 6.00 seconds" in log
    assert timed_out is ("Status: timeout" in log) is (kind == "Sandbox.Timedout")


async def test_a_timeout_is_told_as_aws_tells_it(manual_clock, caplog, until, soon):
    caplog.set_level(logging.INFO)
    async with serve(6, manual_clock) as client:
        running = asyncio.create_task(invoke(client, "works", {"do": "sleep"}))
        await until(lambda: "handling" in caplog.text)
        await manual_clock.advance(6)
        check(*await soon(running), "Sandbox.Timedout", TIMED_OUT)


async def test_an_exception_comes_as_its_runtime_told_it(client):
    answer, payload, _ = await invoke(client, "works", {"do": "fail"})
    assert payload["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert all(line.startswith("  File ") and line.endswith("\n") for line in payload["stackTrace"])
    assert "in fail" in payload["stackTrace"][-1]


async def test_the_log_has_what_the_handler_wrote(client):
    answer, payload, log = await invoke(client, "works", {"n": 1})
    id = answer["ResponseMetadata"]["RequestId"]
    assert payload["event"] == {"n": 1}
    lines = log.splitlines()
    assert lines[:2] == [f"START RequestId: {id} Version: $LATEST", f"handling {id}"]
    assert lines[2] == f"END RequestId: {id}"
    assert re.fullmatch(
        rf"REPORT RequestId: {id}\tDuration: [\d.]+ ms\tBilled Duration: \d+ ms\t"
        r"Memory Size: 96 MB\tMax Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t",
        lines[3],
    )
    assert len(lines) == 4


async def test_the_log_has_the_last_words(client):
    _, _, log = await invoke(client, "works", {"do": "end"})
    lines = log.splitlines()
    assert "the last words" in lines
    assert "Runtime.ExitError" in lines
    assert "Status: error" in lines[-1].split("\t")
