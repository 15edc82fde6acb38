"""Durable functions by AWS's contract: AWS's SDK in the instance, and boto3 outside."""

import asyncio
import functools
import json
import sys

import pytest
from lambda_clients import Lambda

from eventmesh import Service
from eventmesh.auth import Identity
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

OURS = f"python3.{sys.version_info.minor}"


@pytest.fixture
def app(python_packages, tmp_path):
    service = Service("shop", store=f"sqlite:///{tmp_path}/shop.db")
    for name in ("handler", "no_handler_of_the_sdk"):
        service.lambda_function(
            name,
            code="../../support/lambdas/durable",
            handler=f"app.{name}",
            runtime=OURS,
            environment={"PYTHONPATH": str(python_packages)},
            memory="512M",
            timeout=60,
            instances=2,
            durable=True,
            execution_timeout="10m",
        )

    @service.function
    def whoami(identity: Identity) -> str:
        return identity.principal

    return service


@pytest.fixture
async def client(app):
    async with (
        MemoryBroker() as broker,
        host_services([app], broker, Settings(http_port=0, grace=5)) as host,
    ):
        yield Lambda(host.addresses["http"])


async def call(client, name, **arguments):
    return await asyncio.to_thread(functools.partial(getattr(client.client, name), **arguments))


async def run(client, what, function="shop.handler", **event):
    """Begin an execution, and wait for its end: its result or error, and its ARN."""
    payload = json.dumps({"what": what, **event}).encode()
    answer = await client.invoke(function, payload)
    return json.loads(answer["Payload"]), answer


async def read_history(client, arn):
    history = await call(client, "get_durable_execution_history", DurableExecutionArn=arn)
    return history["Events"]


async def find_event(client, arn, type):
    async with asyncio.timeout(60):
        while True:
            for event in await read_history(client, arn):
                if event["EventType"] == type:
                    return event
            await asyncio.sleep(0.05)


async def test_the_operations_of_the_sdk(client):
    events = {
        "steps": {"n": 1},
        "retried": {},
        "invoke": {"called": "shop.handler:$LATEST"},
        "child": {},
        "many": {},
        "poll": {},
    }
    async with asyncio.TaskGroup() as group:
        running = {
            what: group.create_task(run(client, what, **event)) for what, event in events.items()
        }
    results = {what: task.result()[0] for what, task in running.items()}
    assert results == {
        "steps": 4,
        "retried": 2,
        "invoke": 10,
        "child": "inside",
        "many": [[10, 20, 30], ["a", "b"]],
        "poll": 2,
    }
    _, answer = running["steps"].result()
    history = await read_history(client, answer["DurableExecutionArn"])
    types = [event["EventType"] for event in history]
    # The wait may be over before the turn that began it has ended.
    assert types.index("WaitStarted") < types.index("WaitSucceeded") < 6
    types.remove("WaitSucceeded")
    assert types == [
        "ExecutionStarted",
        "StepStarted",
        "StepSucceeded",
        "WaitStarted",
        "InvocationCompleted",
        "StepStarted",
        "StepSucceeded",
        "InvocationCompleted",
        "ExecutionSucceeded",
    ]


async def test_all_turns_and_what_they_invoke_are_in_the_trace_of_the_request(client):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.client.meta.events.register(
        "before-sign.lambda.Invoke",
        lambda request, **_: request.headers.add_header("traceparent", parent),
    )
    traces, _ = await run(client, "trace")
    assert [trace.partition(";")[0] for trace in traces] == [
        "Root=1-0af76519-16cd43dd8448eb211c80319c"
    ] * 3


async def test_later_turns_invoke_as_who_began_the_execution(client):
    who, _ = await run(client, "for_whom")
    assert who == "local"


async def test_a_callback_is_completed_by_boto3(client):
    begun = await client.invoke(
        "shop.handler", b'{"what": "callback"}', InvocationType="Event", Qualifier="$LATEST"
    )
    arn = begun["DurableExecutionArn"]
    assert begun["StatusCode"] == 202
    opened = await find_event(client, arn, "CallbackStarted")
    id = opened["CallbackStartedDetails"]["CallbackId"]
    await call(client, "send_durable_execution_callback_heartbeat", CallbackId=id)
    await call(client, "send_durable_execution_callback_success", CallbackId=id, Result=b"yes")
    await find_event(client, arn, "ExecutionSucceeded")
    execution = await call(client, "get_durable_execution", DurableExecutionArn=arn)
    assert execution["Status"] == "SUCCEEDED"
    assert json.loads(execution["Result"]) == {"answer": "yes"}


async def test_an_execution_is_begun_once_by_its_name(client):
    first, second = [
        await client.invoke("shop.handler", b'{"what": "child"}', DurableExecutionName="order-7")
        for _ in range(2)
    ]
    assert first["Payload"] == second["Payload"] == b'"inside"'
    assert first["DurableExecutionArn"] == second["DurableExecutionArn"]
    assert first["DurableExecutionArn"].split("/")[-2] == "order-7"
    with pytest.raises(client.client.exceptions.DurableExecutionAlreadyStartedException):
        await client.invoke("shop.handler", b'{"what": "many"}', DurableExecutionName="order-7")
    listed = await call(client, "list_durable_executions_by_function", FunctionName="shop.handler")
    (only,) = listed["DurableExecutions"]
    assert (only["DurableExecutionName"], only["Status"]) == ("order-7", "SUCCEEDED")


async def test_an_instance_records_only_what_it_runs(client):
    begun = await client.invoke("shop.handler", b'{"what": "callback"}', InvocationType="Event")
    other = begun["DurableExecutionArn"]
    await find_event(client, other, "InvocationCompleted")
    errors, _ = await run(client, "intrude", other=other)
    assert errors == ["AccessDeniedException"] * 4
    execution = await call(client, "get_durable_execution", DurableExecutionArn=other)
    assert execution["Status"] == "RUNNING"
    completed, _ = await run(client, "tell_itself")
    assert completed == "me"


async def test_a_tenant_is_passed_on_through_chained_invokes(client):
    asked = {"what": "whose"}
    answer = await client.invoke("shop.handler", json.dumps(asked).encode(), TenantId="acme")
    assert json.loads(answer["Payload"]) == ["acme", "http://127.0.0.1:"]


async def test_an_execution_fails(client):
    error, answer = await run(client, "fail")
    assert answer["FunctionError"] == "Unhandled"
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "it went wrong")
    error, answer = await run(client, "", function="shop.no_handler_of_the_sdk")
    assert error["errorType"] == "InvalidParameterValueException"
    assert "Invalid Status in invocation output" in error["errorMessage"]
