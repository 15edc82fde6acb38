"""The executions of durable functions in a real database: kept, changed, listed and dropped."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.durable.checkpoint import record_checkpoint
from eventmesh.durable.completion import TURN, WAKE
from eventmesh.durable.errors import ExecutionNameTaken, ExecutionNotFound
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.durable.operation import ErrorObject, OperationUpdate
from eventmesh.executions.messages.contents import send_commands
from eventmesh.executions.upkeep.overdue import advance_overdue
from eventmesh.store.admin import open_admin

STEP = OperationUpdate("s", "STEP", "START", name="charge")
WAIT = OperationUpdate("w", "WAIT", "START", name="pause", duration=3600)


@pytest.fixture
async def keeper(store_url):
    async with open_admin(store_url) as admin:
        await admin.migrate()
        yield await admin.executions()


def execution(id, name="", **fields):
    now = SystemClock.now()
    return Execution(id, name or id, "orders.place", "$LATEST", now, payload='"7"', **fields)


async def begin(keeper, id, *updates, **fields):
    """An execution whose first turn recorded these updates, and waits."""
    async with keeper.create(execution(id, **fields)) as change:
        change.transition.start()
    async with keeper.change(id) as change:
        transition = change.transition
        assert transition.begin_invocation(1, "request")
        token = transition.token
    async with keeper.change(id) as change:
        record_checkpoint(change.transition, token, updates)
        change.transition.end_invocation(token, None)
        await send_commands(change)


async def test_an_execution_is_kept_with_all_that_it_did(keeper):
    await begin(keeper, "e1", STEP, replace(STEP, action="SUCCEED", payload='"ü"'), WAIT)
    async with keeper.change("e1", None) as change:
        step, wait = change.execution.operations.values()
    assert (step.status, step.result) == ("SUCCEEDED", '"ü"')
    assert (wait.name, wait.duration) == ("pause", 3600)
    assert change.execution.wake == wait.due
    assert (change.execution.payload, change.execution.count) == ('"7"', 2)
    events, rest = await keeper.read_history("e1", Page(4))
    assert [event.id for event in events] == [1, 2, 3, 4]
    others, end = await keeper.read_history("e1", Page(4, rest))
    assert [event.type for event in others] == ["InvocationCompleted"]
    assert end == ""
    backwards, _ = await keeper.read_history("e1", Page(2), newest_first=True)
    assert [event.id for event in backwards] == [5, 4]
    first, rest = await keeper.read_operations("e1", Page(1))
    second, _ = await keeper.read_operations("e1", Page(1, rest))
    assert [first[0].id, second[0].id] == ["s", "w"]


HEADERS = {"traceparent": "00-1", "baggage": "tenant=ü", "em-correlation-id": "c1"}


async def test_what_makes_an_execution_go_on_has_the_headers_that_it_began_with(keeper, query):
    await begin(keeper, "e1", WAIT, headers=HEADERS)
    assert (await keeper.read("e1")).headers == HEADERS
    async with keeper.change("e1") as change:
        change.transition.request_turn()
        await send_commands(change)
    assert await read_headers(query) == {WAKE: HEADERS, TURN: HEADERS}


async def test_one_that_an_earlier_version_began_goes_on_with_its_id_for_a_chain(keeper, query):
    await begin(keeper, "e1", WAIT, headers=HEADERS)
    ((state,),) = await query("SELECT state FROM eventmesh_executions")
    earlier = json.loads(state)
    assert earlier.pop("headers") == HEADERS
    await query("UPDATE eventmesh_executions SET state = :state", state=json.dumps(earlier))
    await query("DELETE FROM eventmesh_outbox")
    async with keeper.change("e1") as change:
        change.transition.request_turn()
        await send_commands(change)
    assert await read_headers(query) == {TURN: {"em-correlation-id": "e1"}}


async def test_what_makes_an_execution_go_on_has_the_identity_that_began_it(keeper, query):
    principal = '{"p":"jwt:ü","m":"jwt","c":{"name":"\\u0000"}}'
    await begin(keeper, "e1", WAIT, principal=principal)
    assert (await keeper.read("e1")).principal == principal
    async with keeper.change("e1") as change:
        change.transition.request_turn()
        await send_commands(change)
    sent = {each["type"]: each["principal"] for each in await read_messages(query)}
    assert sent == {WAKE: principal, TURN: principal}


async def read_headers(query):
    """The headers of the messages that were committed, by their types."""
    return {each["type"]: each["headers"] for each in await read_messages(query)}


async def read_messages(query):
    """The properties of the messages that were committed, in their order."""
    rows = await query("SELECT properties FROM eventmesh_outbox ORDER BY id")
    return [json.loads(properties) for (properties,) in rows]


async def test_an_execution_is_read_with_the_operations_that_are_asked_for(keeper):
    await begin(keeper, "e1", STEP, replace(STEP, action="SUCCEED"), WAIT)
    await begin(keeper, "e2", replace(STEP, id="other"))
    assert (await keeper.read("e1")).operations == {}
    found = await keeper.read("e1", ["s", "other"])
    assert {id: each.status for id, each in found.operations.items()} == {"s": "SUCCEEDED"}


async def test_a_change_loads_only_what_it_needs(keeper):
    await begin(keeper, "e1", STEP, replace(STEP, action="SUCCEED"), WAIT)
    async with keeper.change("e1") as change:
        assert change.transition.begin_invocation(1, "again") is False
        change.execution.begun = change.execution.change
    async with keeper.change("e1") as change:
        assert list(change.execution.operations) == ["w"]
    async with keeper.change("e1", ["s"]) as change:
        assert list(change.execution.operations) == ["s", "w"]


async def test_a_change_that_fails_changes_nothing(keeper):
    await begin(keeper, "e1", WAIT)

    async def fail():
        async with keeper.change("e1") as change:
            change.transition.stop(None)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert (await keeper.read("e1")).status == "RUNNING"
    assert len((await keeper.read_history("e1", Page()))[0]) == 3


async def test_two_changes_of_one_execution_come_one_after_the_other(keeper):
    await begin(keeper, "e1", WAIT)

    async def pause_and_resume():
        async with keeper.change("e1") as change:
            change.transition.pause()
            await asyncio.sleep(0)
            change.transition.resume()

    await asyncio.gather(*(pause_and_resume() for _ in range(5)))
    events, _ = await keeper.read_history("e1", Page())
    assert [event.type for event in events[3:]] == ["ExecutionPaused", "ExecutionResumed"] * 5


async def test_an_execution_is_created_once_and_its_name_is_its_own(keeper):
    await begin(keeper, "e1", WAIT, name="order-7")
    async with keeper.create(execution("e1", "order-7")) as change:
        assert change is None
    with pytest.raises(ExecutionNameTaken, match="'order-7'"):
        async with keeper.create(execution("e2", "order-7")):
            raise AssertionError
    found = await keeper.find("orders.place", "order-7")
    assert found is not None
    assert found.id == "e1"
    assert await keeper.find("orders.place", "other") is None


async def test_what_is_not_there_is_not_found(keeper):
    with pytest.raises(ExecutionNotFound, match="'no'"):
        await keeper.read("no")
    with pytest.raises(ExecutionNotFound):
        async with keeper.change("no"):
            raise AssertionError
    for page in (Page(1, "x"), Page(1, "e30=")):
        with pytest.raises(ExecutionNotFound, match="marker"):
            await keeper.list(ExecutionFilter(), page)
    with pytest.raises(ExecutionNotFound, match="marker"):
        await keeper.read_history("no", Page(1, "x"))


async def test_executions_are_listed_page_by_page(keeper):
    for number in range(5):
        await begin(keeper, f"e{number}", WAIT)
    async with keeper.change("e3") as change:
        change.transition.stop(None)
    found, rest = await keeper.list(ExecutionFilter(), Page(2))
    assert [each.id for each in found] == ["e4", "e3"]
    found, rest = await keeper.list(ExecutionFilter(), Page(2, rest))
    assert [each.id for each in found] == ["e2", "e1"]
    found, rest = await keeper.list(ExecutionFilter(), Page(2, rest))
    assert ([each.id for each in found], rest) == (["e0"], "")
    oldest, _ = await keeper.list(ExecutionFilter(newest_first=False), Page(1))
    assert oldest[0].id == "e0"
    stopped, _ = await keeper.list(ExecutionFilter(statuses=("STOPPED",)), Page())
    assert [each.id for each in stopped] == ["e3"]
    since = (await keeper.read("e3")).started
    later, _ = await keeper.list(ExecutionFilter("orders.place", started_after=since), Page())
    earlier, _ = await keeper.list(ExecutionFilter(started_before=since), Page())
    assert [each.id for each in (*later, *earlier)] == ["e4", "e2", "e1", "e0"]
    assert (await keeper.list(ExecutionFilter(name="e1"), Page()))[0][0].id == "e1"
    assert await keeper.list(ExecutionFilter("other.function"), Page()) == ([], "")


async def test_what_ended_long_ago_is_dropped_with_all_that_it_did(keeper):
    for id in ("e1", "e2"):
        await begin(keeper, id, WAIT)
    async with keeper.change("e1") as change:
        change.transition.stop(None)
    ended = (await keeper.read("e1")).ended
    assert await keeper.drop_ended("orders.place", ended, 10) == 0
    assert await keeper.drop_ended("orders.other", ended + 1, 10) == 0
    assert await keeper.drop_ended("orders.place", ended + 1, 10) == 1
    assert await keeper.read_history("e1", Page()) == ([], "")
    assert await keeper.read_operations("e1", Page()) == ([], "")
    assert (await keeper.read("e2")).status == "RUNNING"


async def test_the_command_names_the_dead_letter_that_a_turn_became(keeper, store_url):
    await begin(keeper, "e1", WAIT)
    async with keeper.change("e1") as change:
        change.transition.request_turn()
    async with keeper.change("e1") as change:
        assert change.transition.note_dead_letter(2, "d1", "all attempts failed")
    asked = ("show", "e1", "--store", store_url)
    shown = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "eventmesh", "durable", *asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "eventmesh dlq redrive orders.place --id d1" in shown.stdout
    assert "durable resume" not in shown.stdout


async def test_what_is_overdue_is_found_and_ended_once(keeper):
    clock = SystemClock()
    long_ago = clock.now() - 7200
    async with keeper.create(replace(execution("late", timeout=3600), started=long_ago)) as change:
        change.transition.start()
        await send_commands(change)
    await begin(keeper, "asleep", WAIT, timeout=3600)
    assert await keeper.list_overdue("orders.other", clock.now(), 10) == []
    assert await keeper.list_overdue("orders.place", clock.now(), 10) == ["late"]
    assert await advance_overdue(keeper, clock, "orders.place") == 1
    assert (await keeper.read("late")).status == "TIMED_OUT"
    assert (await keeper.read("asleep")).status == "RUNNING"
    assert await advance_overdue(keeper, clock, "orders.place") == 0


async def test_the_commands_show_and_stop_executions(keeper, store_url):
    await begin(keeper, "e1", STEP, replace(STEP, action="FAIL", error=ErrorObject("no")), WAIT)

    def run(*arguments):
        command = [sys.executable, "-m", "eventmesh", "durable", *arguments, "--store", store_url]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    async def ask(*arguments):
        return await asyncio.to_thread(run, *arguments)

    assert "orders.place" in (await ask("list", "--status", "running")).stdout
    listed = json.loads((await ask("list", "--json")).stdout)
    assert [(each["id"], each["status"]) for each in listed] == [("e1", "RUNNING")]
    assert "open         WAIT pause: STARTED, due in " in (await ask("show", "e1")).stdout
    shown = json.loads((await ask("show", "e1", "--json")).stdout)
    assert [each["name"] for each in shown["open"]] == ["pause"]
    assert "StepFailed" in (await ask("history", "e1")).stdout
    events = json.loads((await ask("history", "e1", "--json")).stdout)
    assert [event["EventId"] for event in events] == [1, 2, 3, 4, 5]
    assert "e1 is PAUSED" in (await ask("pause", "e1", "--reason", "later")).stdout
    assert "e1 is RUNNING" in (await ask("resume", "e1")).stdout
    assert "e1 is STOPPED" in (await ask("stop", "e1", "--reason", "enough", "--yes")).stdout
    assert (await keeper.read("e1")).error == ErrorObject("enough", "Execution.Stopped")
    again = await ask("stop", "e1", "--yes")
    assert (again.returncode, "e1 is STOPPED" in again.stdout) == (0, True)
    assert (await keeper.read("e1")).error == ErrorObject("enough", "Execution.Stopped")
    missing = await ask("show", "no")
    assert (missing.returncode, "there is no execution 'no'" in missing.stderr) == (3, True)
    assert "No executions." in (await ask("list", "--status", "failed")).stdout
