"""Checkpoints as AWS's SDKs send them, and the pages of what is recorded."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import orjson
import pytest

from eventmesh.durable.errors import InvalidUpdate, StaleToken
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Change, Keeper
from eventmesh.durable.timers import advance
from eventmesh.executions.aws import checkpoints
from eventmesh.executions.aws.checkpoints import StateQuery, checkpoint, first_page, read_state
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.store.admin import open_admin


@pytest.fixture
async def keeper(tmp_path: Path) -> AsyncGenerator[Keeper]:
    async with open_admin(f"sqlite:///{tmp_path}/shop.db") as admin:
        await admin.migrate()
        yield await admin.executions()


def change(keeper: Keeper) -> AbstractAsyncContextManager[Change]:
    return keeper.change("e1", None)


async def begin(keeper: Keeper) -> str:
    """Begin an execution and its first turn; return the token of that."""
    execution = Execution("e1", "n1", "shop.place", "$LATEST", 1000.0, payload="{}")
    async with keeper.create(execution) as created:
        assert created is not None
        created.transition.start()
        created.transition.changes.commands.clear()
    async with change(keeper) as begun:
        assert begun.transition.begin_invocation(1, "r1")
        return begun.transition.token


def body(token: str, *updates: dict[str, Any]) -> bytes:
    return orjson.dumps({"CheckpointToken": token, "Updates": list(updates)})


def step(id: str, action: str = "SUCCEED", **fields: Any) -> dict[str, Any]:
    return {"Id": id, "Type": "STEP", "Action": action, **fields}


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["Id"] for each in answer["NewExecutionState"]["Operations"]]


async def test_an_answer_has_what_changed_since_the_one_before(keeper: Keeper) -> None:
    token = await begin(keeper)
    wait = {"Id": "w", "Type": "WAIT", "Action": "START", "WaitOptions": {"WaitSeconds": 1}}
    first = await checkpoint(keeper, "e1", body(token, step("s1", Payload="1"), wait))
    assert ids(first) == ["s1", "w"]
    async with change(keeper) as later:
        later.transition.now += 2
        advance(later.transition)
    request = body(first["CheckpointToken"], step("s2"))
    second = await checkpoint(keeper, "e1", request)
    assert sorted(ids(second)) == ["s2", "w"]
    # Its answer was lost: the client asks again, and gets the same.
    assert await checkpoint(keeper, "e1", request) == second
    with pytest.raises(StaleToken, match=r"^Invalid checkpoint token"):
        await checkpoint(keeper, "e1", body(first["CheckpointToken"], step("s3")))


async def test_the_answer_has_no_token_once_the_execution_has_ended(keeper: Keeper) -> None:
    token = await begin(keeper)
    async with change(keeper) as stopping:
        stopping.transition.stop(None)
    answer = await checkpoint(keeper, "e1", body(token, step("s1")))
    assert answer == {"NewExecutionState": {"Operations": []}}


async def test_what_is_recorded_is_read_page_by_page(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await begin(keeper)
    steps = [step(f"s{number}", Payload='"' + "x" * 500 + '"') for number in range(6)]
    answer = await checkpoint(keeper, "e1", body(token, *steps))
    token = answer["CheckpointToken"]
    monkeypatch.setattr(checkpoints, "PAGE_BYTES", 2000)
    async with change(keeper) as loaded:
        kept, marker = first_page(loaded.execution)
    found = [each.id for each in kept]
    assert found == ["s0", "s1"]
    while marker:
        page = await read_state(keeper, "e1", StateQuery(token, marker))
        found += [each["Id"] for each in page["Operations"]]
        marker = page.get("NextMarker", "")
    assert found == [f"s{number}" for number in range(6)]
    whole = await read_state(keeper, "e1", StateQuery(token, size=1))
    assert [each["Type"] for each in whole["Operations"]] == ["EXECUTION", "STEP"]
    with pytest.raises(StaleToken):
        await read_state(keeper, "e1", StateQuery("OS4w"))


def invoke(function: str) -> dict[str, Any]:
    options = {"FunctionName": function}
    return {
        "Id": "i",
        "Type": "CHAINED_INVOKE",
        "Action": "START",
        "ChainedInvokeOptions": options,
    }


async def test_a_function_is_invoked_by_the_name_that_it_has_here(keeper: Keeper) -> None:
    token = await begin(keeper)
    arn = "arn:aws:lambda:eu-central-1:000000000000:function:pay.charge:$LATEST"
    await checkpoint(keeper, "e1", body(token, invoke(arn)))
    async with change(keeper) as called:
        assert called.execution.operations["i"].function == "pay.charge"


@pytest.mark.parametrize(
    ("updates", "why"),
    [
        ([invoke("no function")], "cannot be invoked"),
        ([invoke("pay.charge:7")], "one version"),
        ([invoke("mail.send")], "may not call 'mail.send'"),
        ([{"Id": "x"}], "Updates.0.Type"),
    ],
)
async def test_what_cannot_be_recorded_changes_nothing(
    keeper: Keeper, updates: list[dict[str, Any]], why: str
) -> None:
    token = await begin(keeper)
    outgoing = Outgoing("shop", calls=("pay.charge",))
    with pytest.raises(InvalidUpdate, match=why):
        await checkpoint(keeper, "e1", body(token, *updates), outgoing)
    assert "CheckpointToken" in await checkpoint(keeper, "e1", body(token))


@pytest.mark.parametrize("sent", [b"", b"[]", b"{}", b'{"CheckpointToken": 7}'])
async def test_what_is_no_checkpoint_is_refused(keeper: Keeper, sent: bytes) -> None:
    with pytest.raises(InvalidUpdate):
        await checkpoint(keeper, "e1", sent)
