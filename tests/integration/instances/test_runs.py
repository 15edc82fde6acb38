"""What works in an instance works as it does in the service's own process."""

import asyncio
import json
import logging
import os

import isolated
import pytest

from eventmesh.model.errors import AccessDenied, FunctionError
from eventmesh.model.topology import dead_letters


@pytest.fixture(autouse=True)
def nothing_received():
    isolated.RECEIVED.clear()


async def test_it_runs_in_a_process_with_resources_of_its_own(hosted, caplog, patient_stop):
    caplog.set_level(logging.INFO)
    async with hosted(isolated.app) as host:
        seen = await host.caller.invoke("isolated.where")
        again = await host.caller.invoke("isolated.where")
    assert seen["pid"] not in (os.getpid(), 0)
    assert seen["marker"] == seen["pid"] == again["pid"]
    by_text = {record.getMessage(): record for record in caplog.records}
    assert by_text["printed"].name == "eventmesh.function.isolated.where"
    assert by_text["logged here"].levelno == logging.WARNING
    assert by_text["logged here"].invocation_id
    assert "the marker is closed" in by_text, "its resources are closed when the service stops"


async def test_it_gets_no_setting_of_the_service_and_no_descriptor(hosted, monkeypatch):
    monkeypatch.setenv("EVENTMESH_BROKER", "amqp://user:secret@broker")
    monkeypatch.setenv("OWN_SETTING", "kept")
    async with hosted(isolated.app) as host:
        seen = await host.caller.invoke("isolated.where")
    assert "OWN_SETTING" in seen["environment"]
    assert [name for name in seen["environment"] if name.startswith("EVENTMESH_")] == [
        "EVENTMESH_FUNCTION"
    ]
    # Standard input, output and error, its socket and its log, and of the zygote's and the event
    # loop's own what they make: nothing of the service.
    assert len(seen["descriptors"]) <= 14


async def test_its_calls_are_made_by_the_service(hosted):
    async with hosted(isolated.app) as host:
        answer = await host.caller.invoke("isolated.asks", {"number": 4})
        async with asyncio.timeout(60):
            while len(isolated.RECEIVED) < 2:
                await asyncio.sleep(0.01)
    assert answer == {"number": 8, "caller": "isolated.asks", "principal": ""}
    assert sorted(isolated.RECEIVED) == ["emitted", "sent"]


async def test_a_transaction_that_other_code_opens_says_that_there_is_none(hosted):
    async with hosted(isolated.limited) as host:
        with pytest.raises(FunctionError, match="with a process of its own has no store"):
            await host.caller.invoke("limited.stores")


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        ("limited.calls", {"name": "isolated.receives"}),
        ("limited.emits", {"type": "thing.happened"}),
    ],
)
async def test_what_its_service_does_not_declare_is_refused_by_the_service(
    hosted, function, payload
):
    async with hosted(isolated.app, isolated.limited) as host:
        allowed = await host.caller.invoke("limited.calls", {"name": "isolated.double"})
        with pytest.raises(FunctionError, match="may not") as error:
            await host.caller.invoke(function, payload)
    assert allowed["number"] == 2
    assert error.value.type.endswith(AccessDenied.__name__)
    assert isolated.RECEIVED == []


async def test_items_are_streamed_one_by_one(hosted):
    async with hosted(isolated.app) as host:
        assert await host.caller.invoke("isolated.counts", {"most": 2}) == [0, 1]
        with pytest.raises(FunctionError, match="after the third"):
            await host.caller.invoke("isolated.counts", {"most": 3})
        assert await host.caller.invoke("isolated.counts", {"most": 0}) == []


async def test_it_serves_routes(routes):
    async with routes.post("/orders", json={"item": "tea"}) as response:
        assert (response.status, await response.json()) == (200, "tea http")
    async with routes.post("/orders", json={"item": "none"}) as response:
        assert response.status == 409
        assert (await response.json())["item"] == "none"
    async with routes.post("/orders", json={"thing": 1}) as response:
        assert response.status == 422
        assert "item" in await response.text()


async def test_it_takes_batches(hosted, embedded):
    dead = dead_letters("isolated.batch")
    async with hosted(isolated.app, broker=embedded) as host:
        for item in ("good", "bad", 7):
            await host.caller.send("queue:parts", {"item": item})
        async with asyncio.timeout(60):
            while await embedded.depth(dead) < 2:
                await asyncio.sleep(0.01)
        letters = [await embedded.get(dead) for _ in range(2)]
    assert sorted(str(json.loads(each.message.body)["item"]) for each in letters) == ["7", "bad"]


async def test_many_at_once_have_no_more_than_its_instances(hosted):
    async with hosted(isolated.app) as host:
        seen = await asyncio.gather(*(host.caller.invoke("isolated.where") for _ in range(40)))
    assert 1 <= len({each["pid"] for each in seen}) <= 2
