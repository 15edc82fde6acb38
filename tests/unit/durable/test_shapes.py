"""The JSON of AWS's API, checked against its own service model."""

from typing import Any, cast

import boto3
import pytest

from eventmesh.durable.errors import InvalidUpdate
from eventmesh.durable.operation import ErrorObject, OperationUpdate
from eventmesh.durable.outcomes import end_call, fail_callback, succeed_callback
from eventmesh.durable.shapes import (
    event_fields,
    execution_details,
    execution_fields,
    invocation_payload,
    operation_fields,
    parse_updates,
)
from eventmesh.durable.transition import Transition
from tests.unit.durable.executions import CALL, CALLBACK, STEP, STEP_DONE, WAIT, Run, suspended

ARN = "arn:aws:lambda:eu-west-1:123456789012:function:place:$LATEST/durable-execution/order-7/e1"
FUNCTION_ARN = "arn:aws:lambda:eu-west-1:123456789012:function:place"
MODEL: Any = cast(Any, boto3).client("lambda", region_name="eu-west-1").meta.service_model


def keys_of(shape: Any, fields: Any, path: str = "") -> list[str]:
    """The keys, by their paths, that the service model does not have."""
    if shape.type_name == "list":
        return [bad for item in fields for bad in keys_of(shape.member, item, path)]
    if shape.type_name != "structure":
        return []
    unknown = [f"{path}.{name}" for name in fields if name not in shape.members]
    missing = [f"{path}.{name} is missing" for name in shape.required_members if name not in fields]
    known = {name: part for name, part in fields.items() if name in shape.members}
    inner = [keys_of(shape.members[name], known[name], f"{path}.{name}") for name in known]
    return unknown + missing + [bad for part in inner for bad in part]


def busy() -> Run:
    """An execution that had one of everything."""
    run = Run(payload="7", timeout=1000)
    run.begin()
    updates = [
        STEP,
        STEP_DONE,
        WAIT,
        CALLBACK,
        OperationUpdate("c2", "CALLBACK", "START", timeout=5, heartbeat_timeout=3),
        OperationUpdate("c3", "CALLBACK", "START"),
        CALL,
        OperationUpdate("i2", "CHAINED_INVOKE", "START", function="ship", tenant="acme"),
        OperationUpdate("x", "CONTEXT", "START", name="branch"),
        OperationUpdate("f", "STEP", "FAIL", parent="x", error=ErrorObject("no", "E", "d", ("f",))),
        OperationUpdate("x", "CONTEXT", "FAIL", error=ErrorObject("no")),
        OperationUpdate("r", "STEP", "RETRY", error=ErrorObject("no")),
        OperationUpdate("y", "CONTEXT", "SUCCEED", payload="1"),
        OperationUpdate("w2", "WAIT", "START", duration=9),
        OperationUpdate("w2", "WAIT", "CANCEL"),
    ]
    run.checkpoint(*updates)
    run.complete(succeed_callback, "c", '"yes"')
    run.complete(fail_callback, "c3", ErrorObject("no", "E"))
    run.do(end_call, "i", "SUCCEEDED", "1")
    run.do(end_call, "i2", "STOPPED", None, ErrorObject("no"))
    run.do(Transition.pause, "why")
    run.finish()
    run.do(Transition.resume)
    run.wait(100)
    return run


def test_operations_have_the_shape_of_the_service_model() -> None:
    shape = MODEL.shape_for("Operation")
    for operation in busy().execution.operations.values():
        assert keys_of(shape, operation_fields(operation)) == []


def test_events_have_the_shape_of_the_service_model() -> None:
    shape = MODEL.shape_for("Event")
    run = busy()
    run.do(Transition.stop, ErrorObject("enough"))
    events = run.history
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert len({event.type for event in events}) == 21
    for event in events:
        for data in (True, False):
            assert keys_of(shape, event_fields(event, data=data)) == []
    assert not any("Payload" in str(event_fields(event, data=False)) for event in events)


def test_executions_have_the_shape_of_the_service_model() -> None:
    run = busy()
    run.do(Transition.pause, "why")
    for execution in (run.execution, Run().execution):
        details = execution_details(execution, ARN, FUNCTION_ARN)
        assert keys_of(MODEL.shape_for("GetDurableExecutionResponse"), details) == []
        listed = execution_fields(execution, ARN, FUNCTION_ARN)
        assert keys_of(MODEL.shape_for("Execution"), listed) == []
    run.do(Transition.resume)
    run.do(Transition.stop, ErrorObject("enough"))
    details = execution_details(run.execution, ARN, FUNCTION_ARN)
    assert (details["Status"], details["Error"]) == ("STOPPED", {"ErrorMessage": "enough"})
    assert details["EndTimestamp"] == run.now
    hidden = execution_details(run.execution, ARN, FUNCTION_ARN, data=False)
    assert {"InputPayload", "Result", "Error"}.isdisjoint(hidden)


def test_a_function_is_invoked_with_its_input_and_its_state() -> None:
    run = suspended(WAIT, payload='"7"')
    operations = run.execution.operations.values()
    event = invocation_payload(run.execution, ARN, "dG9rZW4=", operations, updated=["w"])
    assert event["DurableExecutionArn"] == ARN
    assert event["UpdatedOperationIds"] == ["w"]
    first, wait = event["InitialExecutionState"]["Operations"]
    assert (first["Id"], first["Type"]) == (ARN.rpartition("/")[2], "EXECUTION")
    assert first["ExecutionDetails"] == {"InputPayload": '"7"'}
    # In milliseconds: it is not an answer of the API.
    assert wait["WaitDetails"] == {"ScheduledEndTimestamp": 1_060_000}


def test_updates_are_read() -> None:
    sent = {
        "Id": "s",
        "Type": "STEP",
        "Action": "RETRY",
        "ParentId": "x",
        "Name": "charge",
        "SubType": "Step",
        "Error": {"ErrorMessage": "no", "ErrorType": "E", "ErrorData": "d", "StackTrace": ["f"]},
        "StepOptions": {"NextAttemptDelaySeconds": 7},
    }
    call = {
        "Id": "i",
        "Type": "CHAINED_INVOKE",
        "Action": "START",
        "ChainedInvokeOptions": {"FunctionName": "ship", "TenantId": "acme"},
    }
    step, called = parse_updates([sent, call])
    assert step == OperationUpdate(
        "s",
        "STEP",
        "RETRY",
        parent="x",
        name="charge",
        subtype="Step",
        error=ErrorObject("no", "E", "d", ("f",)),
        next_attempt_delay=7,
    )
    assert (called.function, called.tenant) == ("ship", "acme")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"Id": "a b"}, "Updates.0.Id"),
        ({"Id": "a" * 65}, "Updates.0.Id"),
        ({"Id": "a\n"}, "Updates.0.Id"),
        ({"Type": "LOOP"}, "Updates.0.Type"),
        ({"Action": "start"}, "Updates.0.Action"),
        ({"Name": "\x00"}, "Updates.0.Name"),
        ({"Payload": 7}, "Updates.0.Payload"),
        ({"StepOptions": {"NextAttemptDelaySeconds": "7"}}, "NextAttemptDelaySeconds"),
        ({"ChainedInvokeOptions": {}}, "FunctionName"),
        ({"Error": {"StackTrace": ["f"] * 1001}}, "StackTrace"),
    ],
)
def test_bad_updates_are_refused_by_the_name_of_the_field(
    change: dict[str, Any], place: str
) -> None:
    sent = {"Id": "s", "Type": "STEP", "Action": "START"} | change
    with pytest.raises(InvalidUpdate, match=place):
        parse_updates([sent])


def test_what_is_no_list_of_updates_is_refused() -> None:
    for bad in ("x", None, {"Id": "s"}, [7]):
        with pytest.raises(InvalidUpdate, match="Updates"):
            parse_updates(bad)
    many = [{"Id": "s", "Type": "STEP", "Action": "START"}] * 1001
    with pytest.raises(InvalidUpdate, match="Updates"):
        parse_updates(many)
