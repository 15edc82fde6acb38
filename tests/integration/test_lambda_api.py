"""Invocation by name, by the clients that people have for AWS Lambda."""

import asyncio
import base64
import json
import re

import pytest
from botocore.exceptions import ClientError
from lambda_clients import Lambda, aws_invoke
from waiting import DEADLINE

from eventmesh import Context, Service, on
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.processes.worker import serve_gateway, serve_services

INVOKE = "/2015-03-31/functions/{}/invocations"


orders = Service("orders")


@orders.function(on.get("/unused"))
async def place(sku: str, quantity: int = 1) -> dict[str, object]:
    return {"sku": sku, "quantity": quantity}


@orders.function
async def nothing() -> None: ...


@orders.function
async def headers(ctx: Context) -> dict[str, str]:
    return dict(ctx.headers)


@orders.function
async def reverse(data: bytes) -> bytes:
    return data[::-1]


@orders.function
async def stream():
    yield 1
    yield 2


@orders.function
async def broken() -> None:
    raise ValueError("no stock")


@orders.function(timeout="30ms")
async def slow() -> None:
    await asyncio.Event().wait()


@orders.function(max_payload=100)
async def small(data: str) -> int:
    return len(data)


@pytest.fixture
async def aws(serving):
    async with serving(orders) as served:
        yield Lambda(served.url)


async def test_a_request_gets_its_response(aws):
    answer = await aws.invoke("orders.place", b'{"sku": "a"}')

    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"]) == {"sku": "a", "quantity": 1}
    assert re.fullmatch("[0-9a-f]{32}", answer["ResponseMetadata"]["RequestId"])


@pytest.mark.parametrize(
    "name",
    [
        "orders.nothing",
        "orders.nothing:$LATEST",
        "arn:aws:lambda:eu-central-1:000000000000:function:orders.nothing",
        "arn:aws:lambda:eu-central-1:000000000000:function:orders.nothing:$LATEST",
        "000000000000:function:orders.nothing",
    ],
)
async def test_a_function_is_found_by_each_form_of_its_name(aws, name):
    assert (await aws.invoke(name))["Payload"] == b"null"


async def test_bytes_and_streams_are_payloads(aws):
    assert (await aws.invoke("orders.reverse", b"\x00\xff"))["Payload"] == b"\xff\x00"
    assert (await aws.invoke("orders.stream"))["Payload"] == b"[1,2]"


async def test_an_event_is_stored_and_run(serving):
    service = Service("s")
    seen = asyncio.Queue()

    @service.function
    async def work(number: int, ctx: Context) -> None:
        seen.put_nowait((number, ctx.id, ctx.attempt, ctx.trigger))

    async with serving(service) as served:
        answer = await Lambda(served.url).invoke("s.work", b'{"number": 7}', InvocationType="Event")
        assert (answer["StatusCode"], answer["Payload"]) == (202, b"")
        id = answer["ResponseMetadata"]["RequestId"]
        assert await asyncio.wait_for(seen.get(), 60) == (7, id, 1, "invoke")


async def test_a_dry_run_runs_nothing(aws):
    answer = await aws.invoke("orders.broken", InvocationType="DryRun")

    assert (answer["StatusCode"], answer["Payload"]) == (204, b"")


async def test_a_handler_that_raises_is_a_function_error(aws):
    answer = await aws.invoke("orders.broken")
    error = json.loads(answer["Payload"])

    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "no stock")
    assert error["requestId"] == answer["ResponseMetadata"]["RequestId"]
    assert any("raise ValueError" in line for line in error["stackTrace"])


async def test_a_function_that_is_out_of_time_is_reported_as_on_lambda(aws):
    answer = await aws.invoke("orders.slow")
    error = json.loads(answer["Payload"])

    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Sandbox.Timedout"
    assert error["errorMessage"].endswith("Task timed out after 0.03 seconds")


async def test_a_payload_that_does_not_fit_is_a_function_error_with_the_fields(aws):
    answer = await aws.invoke("orders.place", b"{}")
    error = json.loads(answer["Payload"])

    assert answer["FunctionError"] == "Unhandled"
    assert error["errorType"] == "PayloadInvalid"
    assert "sku: Field required" in error["errorMessage"]


async def test_the_tail_of_the_log_frames_the_invocation(aws):
    answer = await aws.invoke("orders.nothing", LogType="Tail")
    id = answer["ResponseMetadata"]["RequestId"]

    start, end, report = base64.b64decode(answer["LogResult"]).decode().splitlines()
    assert start == f"START RequestId: {id} Version: $LATEST"
    assert end == f"END RequestId: {id}"
    assert report.startswith(f"REPORT RequestId: {id}\tDuration: ")


async def test_the_custom_part_of_the_client_context_becomes_headers(aws):
    context = base64.b64encode(b'{"custom": {"tenant": "acme"}, "env": {}}').decode()
    answer = await aws.invoke("orders.headers", ClientContext=context)

    assert json.loads(answer["Payload"]) == {"tenant": "acme"}


async def refusal(aws, *arguments, **options):
    """The error that boto3 raises."""
    with pytest.raises(ClientError) as raised:
        await aws.invoke(*arguments, **options)
    return raised.value


@pytest.mark.parametrize(
    ("function", "payload", "options", "status", "code"),
    [
        ("orders.nix", b"", {}, 404, "ResourceNotFoundException"),
        ("nonsense", b"", {}, 404, "ResourceNotFoundException"),
        ("orders.place:live", b"", {}, 404, "ResourceNotFoundException"),
        ("orders.place", b"", {"Qualifier": "7"}, 404, "ResourceNotFoundException"),
        ("orders.nix", b"", {"InvocationType": "Event"}, 404, "ResourceNotFoundException"),
        ("orders.nix", b"", {"InvocationType": "DryRun"}, 404, "ResourceNotFoundException"),
        ("no name", b"", {}, 400, "InvalidParameterValueException"),
        ("orders.place", b"", {"InvocationType": "Later"}, 400, "InvalidParameterValueException"),
        ("orders.place", b"{", {}, 400, "InvalidRequestContentException"),
        ("orders.place", b"{", {"InvocationType": "Event"}, 400, "InvalidRequestContentException"),
        ("orders.place", b"", {"ClientContext": "e30"}, 400, "InvalidRequestContentException"),
        ("orders.place", b"", {"ClientContext": "W10="}, 400, "InvalidRequestContentException"),
        ("orders.small", b'"%s"' % (b"x" * 99), {}, 413, "RequestTooLargeException"),
    ],
)
async def test_a_call_that_cannot_be_is_refused_as_lambda_does(
    aws, function, payload, options, status, code
):
    error = await refusal(aws, function, payload, **options)

    assert error.response["Error"]["Code"] == code
    assert error.response["Error"]["Message"]
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert error.response["ResponseMetadata"]["RequestId"]


async def test_what_is_modelled_has_an_exception_of_its_own(aws):
    not_found = await refusal(aws, "orders.nix")
    too_large = await refusal(aws, "orders.small", b'"%s"' % (b"x" * 99))

    assert isinstance(not_found, aws.client.exceptions.ResourceNotFoundException)
    assert isinstance(too_large, aws.client.exceptions.RequestTooLargeException)


async def test_over_the_limit_is_too_many_requests(serving):
    service = Service("s")
    begun, end = asyncio.Event(), asyncio.Event()

    @service.function(concurrency=1, max_pending=0)
    async def busy() -> None:
        begun.set()
        await end.wait()

    async with serving(service) as served, asyncio.TaskGroup() as tasks:
        aws = Lambda(served.url)
        first = tasks.create_task(aws.invoke("s.busy"))
        await begun.wait()
        error = await refusal(aws, "s.busy")
        end.set()
        assert (await first)["StatusCode"] == 200

    assert isinstance(error, aws.client.exceptions.TooManyRequestsException)
    assert error.response["retryAfterSeconds"] == "1"
    assert error.response["Reason"] == "ConcurrentInvocationLimitExceeded"
    assert error.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-retry-after"] == "1000"


async def test_over_the_reserved_concurrency_has_a_reason_of_its_own():
    """Also at a gateway, which knows the limits of a function from its process."""
    service = Service("s")
    begun, end = asyncio.Event(), asyncio.Event()

    @service.function(reserved_concurrency=1, concurrency=1, max_pending=0)
    async def busy() -> None:
        begun.set()
        await end.wait()

    async with (
        MemoryBroker() as broker,
        serve_services([service], broker, Settings(http_port=0)) as own,
        serve_gateway(broker, Settings(http_port=0)) as gateway,
        asyncio.TaskGroup() as tasks,
    ):
        first = tasks.create_task(Lambda(own.addresses["http"]).invoke("s.busy"))
        await begun.wait()
        for host in (own, gateway):
            error = await refusal(Lambda(host.addresses["http"]), "000000000000:function:s.busy")
            assert error.response["Error"]["Code"] == "TooManyRequestsException"
            assert error.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        end.set()
        await first


async def test_what_was_throttled_is_run_by_the_next_try(serving):
    service = Service("s")
    begun, end = asyncio.Event(), asyncio.Event()

    @service.function(concurrency=1, max_pending=0)
    async def busy() -> str:
        begun.set()
        await end.wait()
        return "done"

    async def once(served):
        headers = {"amz-sdk-invocation-id": "the same for both"}
        path = INVOKE.format("s.busy")
        async with served.http.post(path, headers=headers) as answer:
            return answer.status

    async with serving(service) as served, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(served.http.post(INVOKE.format("s.busy")))
        await begun.wait()
        assert await once(served) == 429
        end.set()
        await first
        assert await once(served) == 200


async def test_a_call_that_boto3_repeats_runs_once(serving):
    service = Service("s")
    runs, end = [], asyncio.Event()
    again = asyncio.Event()

    @service.function
    async def slow() -> int:
        runs.append(1)
        await end.wait()
        return len(runs)

    async with serving(service) as served, asyncio.TaskGroup() as tasks:
        aws = Lambda(
            served.url, read_timeout=10, retries={"total_max_attempts": 2, "mode": "standard"}
        )
        tries = []

        def count(request, **_):
            tries.append(request.headers["amz-sdk-invocation-id"])
            if len(tries) == 2:
                loop.call_soon_threadsafe(again.set)

        loop = asyncio.get_running_loop()
        aws.client.meta.events.register("before-send.lambda.Invoke", count)
        call = tasks.create_task(aws.invoke("s.slow"))
        await asyncio.wait_for(again.wait(), DEADLINE)
        end.set()
        assert (await call)["Payload"] == b"1"

    assert len(tries) == 2
    assert len(set(tries)) == 1


async def test_a_function_of_another_process_is_reached_over_the_broker(serving):
    async with (
        MemoryBroker() as broker,
        host_services([orders], broker, Settings(), http=None),
        host_services([Service("door")], broker, Settings(http_port=0)) as door,
    ):
        aws = Lambda(door.addresses["http"])
        answer = await aws.invoke("orders.place", b'{"sku": "a"}')
        assert json.loads(answer["Payload"]) == {"sku": "a", "quantity": 1}
        answer = await aws.invoke("orders.broken")
        assert json.loads(answer["Payload"])["errorType"] == "ValueError"
        error = await refusal(aws, "orders.nix")
        assert error.response["Error"]["Code"] == "ResourceNotFoundException"


async def test_a_page_of_another_site_may_invoke_nothing(serving):
    path = INVOKE.format("orders.nothing")
    async with serving(orders) as served:
        headers = {"Origin": "http://evil.example"}
        async with served.http.post(path, headers=headers) as answer:
            assert answer.status == 403
            assert answer.headers["x-amzn-ErrorType"] == "AccessDeniedException"
        async with served.http.post(path, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421


@pytest.mark.parametrize(("wait", "status"), [("soon", 400), ("nan", 400), ("60", 200)])
async def test_a_client_says_how_long_it_waits(serving, wait, status):
    async with (
        serving(orders) as served,
        served.http.post(
            INVOKE.format("orders.nothing"), headers={"x-eventmesh-timeout": wait}
        ) as answer,
    ):
        assert answer.status == status


async def test_an_unknown_body_coding_is_unsupported(serving):
    async with serving(orders) as served:
        headers = {"Content-Encoding": "zip"}
        async with served.http.post(
            INVOKE.format("orders.nothing"), data=b"x", headers=headers
        ) as answer:
            assert answer.status == 415
            assert answer.headers["x-amzn-ErrorType"] == "UnsupportedMediaTypeException"


async def test_the_command_of_aws_works_as_it_is(serving, tmp_path):
    async with serving(orders) as served:
        printed, written = await aws_invoke(served.url, tmp_path, "orders.place", {"sku": "a"})

    assert printed == {"StatusCode": 200, "ExecutedVersion": "$LATEST"}
    assert json.loads(written) == {"sku": "a", "quantity": 1}
