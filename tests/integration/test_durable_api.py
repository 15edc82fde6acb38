"""Executions by AWS's API: boto3 as an operator has it, and who may do what."""

import asyncio
import functools

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from eventmesh import DurableContext, Service
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.host import host_services
from eventmesh.model.settings import Settings

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
FILE = f"""
[keys.AKIAINVOKERINVOKER]
secret = "{SECRET}"
scopes = ["invoke", "send"]
[keys.AKIAREADERREADER]
secret = "{SECRET}"
scopes = ["read"]
[keys.AKIAMANAGERMANAGER]
secret = "{SECRET}"
scopes = ["read", "manage"]
"""


@pytest.fixture
def shop(tmp_path):
    service = Service("shop", store=f"sqlite:///{tmp_path}/shop.db")

    @service.function(durable=True, execution_timeout="1h")
    async def approve(ctx: DurableContext, what: str = "x") -> str:
        callback = await ctx.callback("approval", returns=str, timeout="10m")
        return f"{what}: {await callback.result()}"

    @service.function
    async def plain() -> str:
        return "plain"

    return service


class Clients:
    """boto3 for each key."""

    def __init__(self, url):
        self.url = url

    def __getattr__(self, who):
        client = boto3.client(
            "lambda",
            endpoint_url=self.url,
            region_name="xx-mesh-1",
            aws_access_key_id=f"AKIA{who.upper() * 2}",
            aws_secret_access_key=SECRET,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=300),
        )

        async def call(operation, **arguments):
            bound = functools.partial(getattr(client, operation), **arguments)
            return await asyncio.to_thread(bound)

        return call


@pytest.fixture
async def clients(shop, tmp_path):
    file = tmp_path / "auth.toml"
    file.touch(0o600)
    file.write_text(FILE)
    settings = Settings(http_port=0, grace=5, auth_file=str(file))
    async with MemoryBroker() as broker, host_services([shop], broker, settings) as host:
        yield Clients(host.addresses["http"])


async def begin(clients, name):
    """An execution that waits for its callback: its ARN, and the id of that."""
    begun = await clients.invoker(
        "invoke",
        FunctionName="shop.approve",
        InvocationType="Event",
        DurableExecutionName=name,
        Payload=b'{"what": "paint"}',
    )
    arn = begun["DurableExecutionArn"]
    async with asyncio.timeout(60):
        while True:
            history = await clients.manager(
                "get_durable_execution_history", DurableExecutionArn=arn
            )
            types = [event["EventType"] for event in history["Events"]]
            if "InvocationCompleted" in types:
                return arn, history
            await asyncio.sleep(0.05)


async def code_of(call):
    with pytest.raises(ClientError) as raised:
        await call
    return raised.value.response["Error"]["Code"]


async def test_each_operation_needs_its_scope(clients):
    arn, _ = await begin(clients, "a")
    denied = {
        "get_durable_execution": clients.invoker,
        "get_durable_execution_history": clients.invoker,
        "stop_durable_execution": clients.reader,
        "pause_durable_execution": clients.reader,
        "resume_durable_execution": clients.invoker,
        "delete_durable_execution": clients.reader,
    }
    codes = [await code_of(who(what, DurableExecutionArn=arn)) for what, who in denied.items()]
    token = {"DurableExecutionArn": arn, "CheckpointToken": "MS4w"}
    codes += [
        await code_of(clients.reader("checkpoint_durable_execution", **token)),
        await code_of(clients.reader("get_durable_execution_state", **token)),
        await code_of(
            clients.invoker("list_durable_executions_by_function", FunctionName="shop.approve")
        ),
        await code_of(
            clients.manager("send_durable_execution_callback_heartbeat", CallbackId="Y2FsbA==")
        ),
    ]
    assert codes == ["AccessDeniedException"] * len(codes)


async def test_the_id_of_a_callback_is_shown_to_who_may_use_it(clients):
    _, history = await begin(clients, "a")
    (opened,) = [each for each in history["Events"] if each["EventType"] == "CallbackStarted"]
    assert opened["CallbackStartedDetails"]["CallbackId"] == "hidden"


async def test_an_execution_is_paused_stopped_and_deleted(clients):
    arn, _ = await begin(clients, "a")
    one = {"DurableExecutionArn": arn}
    await clients.manager("pause_durable_execution", **one, Reason="for lunch")
    paused = await clients.reader("get_durable_execution", **one)
    assert paused["Status"] == "PAUSED"
    assert paused["PauseDetails"]["Reason"] == "for lunch"
    await clients.manager("resume_durable_execution", **one)
    assert await code_of(clients.manager("delete_durable_execution", **one)) == (
        "ResourceConflictException"
    )
    error = {"ErrorType": "Enough", "ErrorMessage": "it is enough"}
    stopped = await clients.manager("stop_durable_execution", **one, Error=error)
    again = await clients.manager("stop_durable_execution", **one)
    assert stopped["StopTimestamp"] == again["StopTimestamp"]
    ended = await clients.reader("get_durable_execution", **one)
    assert (ended["Status"], ended["Error"]) == ("STOPPED", error)
    bare = await clients.reader("get_durable_execution", **one, IncludeExecutionData=False)
    assert "InputPayload" not in bare
    assert await code_of(clients.manager("pause_durable_execution", **one)) == (
        "ResourceConflictException"
    )
    await clients.manager("delete_durable_execution", **one)
    assert await code_of(clients.reader("get_durable_execution", **one)) == (
        "ResourceNotFoundException"
    )


async def test_executions_are_listed_page_by_page(clients):
    for name in ("a", "b", "c"):
        await begin(clients, name)
    ask = functools.partial(
        clients.reader, "list_durable_executions_by_function", FunctionName="shop.approve"
    )
    first = await ask(MaxItems=2, ReverseOrder=True, Statuses=["RUNNING"])
    second = await ask(MaxItems=2, ReverseOrder=True, Marker=first["NextMarker"])
    found = first["DurableExecutions"] + second["DurableExecutions"]
    assert [each["DurableExecutionName"] for each in found] == ["a", "b", "c"]
    after = (await ask(StartedAfter=found[1]["StartTimestamp"]))["DurableExecutions"]
    assert [each["DurableExecutionName"] for each in after] == ["c"]
    assert (await ask(Statuses=["FAILED"]))["DurableExecutions"] == []
    assert len((await ask(DurableExecutionName="b"))["DurableExecutions"]) == 1
    assert await code_of(ask(Statuses=["DELETING"])) == "InvalidParameterValueException"


async def test_what_is_wrong_is_refused(clients):
    arn, _ = await begin(clients, "a")
    other = arn.replace("/a/", "/b/")
    assert await code_of(clients.reader("get_durable_execution", DurableExecutionArn=other)) == (
        "ResourceNotFoundException"
    )
    assert await code_of(clients.reader("get_durable_execution", DurableExecutionArn="arn:x")) == (
        "InvalidParameterValueException"
    )
    token = {"DurableExecutionArn": arn, "CheckpointToken": "MS4w"}
    with pytest.raises(ClientError, match="Invalid checkpoint token") as raised:
        await clients.manager("checkpoint_durable_execution", **token)
    assert raised.value.response["Error"]["Code"] == "InvalidParameterValueException"
    with pytest.raises(ClientError, match="no durable function"):
        await clients.invoker("invoke", FunctionName="shop.plain", DurableExecutionName="a")
    assert (
        await code_of(
            clients.invoker("send_durable_execution_callback_failure", CallbackId="Y2FsbA==")
        )
        == "ResourceNotFoundException"
    )
