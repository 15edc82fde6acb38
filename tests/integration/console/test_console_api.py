"""What the console's API tells and changes, and who may ask for it."""

import asyncio
import linecache
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.memory import MemoryBroker
from eventmesh.console.api import ConsoleOptions
from eventmesh.console.serve import serve_console
from eventmesh.console.sources import open_mesh_source
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters
from eventmesh.host import host_services
from eventmesh.model.errors import SettingsError
from eventmesh.model.message import Message
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox, to_queue
from eventmesh.presence import announce
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look
from eventmesh.service import Service
from eventmesh.triggers import on

CHANGE = {"X-Eventmesh-Console": "1"}
TEA = {"item": "tea"}


class Mesh:
    """A mesh of one process, and its console."""

    def __init__(self, host, broker, url):
        self.host = host
        self.letters = BrokerDeadLetters(broker, SystemClock())
        self.http = aiohttp.ClientSession(url)

    async def get(self, path, **options):
        async with self.http.get(f"api/{path}", **options) as answer:
            return answer.status, await answer.json(content_type=None)

    async def post(self, path, body, headers=CHANGE):
        async with self.http.post(f"api/{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def fail(self, count):
        """Make so many dead letters."""
        for number in range(count):
            await self.host.caller.send("shop.sell", {"item": "bad"}, id=f"d-{number}")
        while len(await self.letters.list("shop.sell")) < count:
            await asyncio.sleep(0.01)


@pytest.fixture
def shop():
    service = Service("shop", version="1.4")

    @service.function(retry=Retry(1))
    async def sell(item: str) -> str:
        """Sell one."""
        if item.startswith("bad"):
            raise ValueError(f"no {item}")
        return f"sold {item}"

    return service


@pytest.fixture
def opened(shop):
    @asynccontextmanager
    async def opened(*, read_only=False, examine=None, recorded=None, **settings):
        clock, given = SystemClock(), Settings(http_port=0, **settings)
        async with (
            MemoryBroker() as broker,
            host_services([shop], broker, given, http=None) as host,
            announce(
                broker,
                clock,
                build_instance(host, [shop], given, clock),
                build_look(host),
            ),
            open_mesh_source(broker, None) as source,
            serve_console(
                source, given, ConsoleOptions("console", read_only, examine, recorded)
            ) as url,
        ):
            mesh = Mesh(host, broker, url)
            mesh.broker = broker
            async with mesh.http:
                yield mesh

    return opened


async def read_event(stream):
    """The kind and the data of the next event that is no comment."""
    while True:
        event = (await stream.readuntil(b"\n\n")).decode()
        if not event.startswith(":"):
            kind, data = event.removesuffix("\n\n").split("\n")
            return kind.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))


async def test_a_snapshot_then_what_changes(opened):
    async with opened() as mesh, mesh.http.get("api/events") as answer:
        assert answer.content_type == "text/event-stream"
        kind, state = await read_event(answer.content)
        assert (kind, set(state["functions"])) == ("snapshot", {"shop.sell"})
        (instance,) = state["instances"].values()
        assert instance["services"] == {"shop": "1.4"}
        id = await mesh.host.caller.send("shop.sell", TEA)
        ended = {}
        while not ended:
            kind, change = await read_event(answer.content)
            ended = change.get("ended", {})
    (run,) = ended.values()
    assert kind == "diff"
    assert (run["id"], run["function"], run["outcome"]) == (id, "shop.sell", "success")


async def test_an_invocation_is_found_and_no_other(opened):
    async with opened() as mesh:
        status, invoked = await mesh.post("functions/shop.sell/invoke", {"payload": TEA})
        assert (status, invoked["result"]) == (200, "sold tea")
        assert (await mesh.get(f"invocations/{invoked['id']}"))[1]["state"] == "succeeded"
        assert (await mesh.get("invocations/nonsense"))[1]["state"] == "unknown"
        _, listed = await mesh.get("invocations?function=shop.sell&outcome=success")
        assert [run["id"] for run in listed["invocations"]] == [invoked["id"]]
        assert (await mesh.get("invocations?outcome=timeout"))[1]["invocations"] == []
        assert (await mesh.get("invocations?limit=x"))[0] == 422


async def test_a_function_is_described_by_its_code(opened):
    async with opened() as mesh:
        status, told = await mesh.get("functions/shop.sell")
        assert (await mesh.get("functions/shop.buy"))[0] == 404
    assert status == 200
    assert told["schema"]["properties"] == {"item": {"title": "Item", "type": "string"}}
    assert told["schema"]["required"] == ["item"]
    assert told["description"] == "Sell one."
    file, _, line = told["code"].rpartition(":")
    assert "async def sell" in linecache.getline(file, int(line) + 1)


async def test_a_recorded_invocation_is_run_again(opened):
    async with opened(record_payloads=True) as mesh:
        id = await mesh.host.caller.send("shop.sell", TEA)
        while not (found := (await mesh.get(f"invocations/{id}"))[1]["chain"]):
            await asyncio.sleep(0.01)
        assert (found[0]["payload"], found[0]["redacted"]) == ('{"item":"tea"}', False)
        assert not any("payload" in run for run in (await mesh.get("state"))[1]["ended"].values())
        path = f"invocations/{id}/replay"
        status, again = await mesh.post(path, {})
        assert (status, again["function"], again["result"]) == (200, "shop.sell", "sold tea")
        assert again["id"] != id
        status, again = await mesh.post(path, {"payload": {"item": "pot"}})
        assert (status, again["result"]) == (200, "sold pot")
        assert (await mesh.post(path, {"function": "shop.buy"}))[0] == 404
        assert (await mesh.post("invocations/nonsense/replay", {}))[0] == 404


async def test_what_was_redacted_is_not_run_as_it_is_recorded(opened, shop):
    shop.redact = lambda function, payload: {"item": function}
    async with opened(record_payloads=True) as mesh:
        _, invoked = await mesh.post("functions/shop.sell/invoke", {"payload": TEA})
        path = f"invocations/{invoked['id']}/replay"
        (run,) = (await mesh.get(f"invocations/{invoked['id']}"))[1]["chain"]
        assert (run["payload"], run["redacted"]) == ('{"item":"shop.sell"}', True)
        assert (await mesh.post(path, {}))[0] == 409
        assert (await mesh.post(path, {"payload": TEA}))[1]["result"] == "sold tea"


async def test_no_payload_is_recorded_unless_that_is_switched_on(opened):
    async with opened() as mesh:
        _, invoked = await mesh.post("functions/shop.sell/invoke", {"payload": TEA})
        (run,) = (await mesh.get(f"invocations/{invoked['id']}"))[1]["chain"]
        assert "payload" not in run
        assert (await mesh.post(f"invocations/{invoked['id']}/replay", {}))[0] == 409


async def test_what_a_function_raises_is_told(opened):
    async with opened() as mesh:
        status, problem = await mesh.post(
            "functions/shop.sell/invoke", {"payload": {"item": "bad tea"}}
        )
    assert status >= 500
    assert problem["error"]["type"] == "ValueError"


async def test_dead_letters_are_grouped_and_dealt_with(opened):
    async with opened() as mesh:
        await mesh.fail(4)
        _, listed = await mesh.get("failures/shop.sell")
        (group,) = listed["groups"]
        assert (group["error_type"], group["count"]) == ("ValueError", 4)
        assert group["frame"].startswith("test_console_api.py:")

        status, edited = await mesh.post("failures/shop.sell/d-0/retry", {"payload": TEA})
        assert status == 200
        answer = await mesh.post("failures/shop.sell/discard", {"ids": ["d-1"]})
        assert answer == (200, {"discarded": 1})
        left = {letter.id for letter in await mesh.letters.list("shop.sell")}
        assert left == {"d-2", "d-3"}
        answer = await mesh.post("failures/shop.sell/retry", {"group": group["key"]})
        assert answer == (200, {"retried": 2})
        assert (await mesh.post("failures/shop.sell/d-0/retry", {"payload": ""}))[0] == 404
        assert (await mesh.post("failures/shop.sell/retry", {}))[0] in (404, 422)

        resolved = (await mesh.get("resolved"))[1]["resolved"]
        assert {(each["id"], each["action"], each["by"]) for each in resolved} == {
            ("d-0", "edited", "local"),
            ("d-1", "discarded", "local"),
            ("d-2", "retried", "local"),
            ("d-3", "retried", "local"),
        }
        assert next(each["copy"] for each in resolved if each["id"] == "d-0") == edited["id"]
        done = [entry["action"] for entry in (await mesh.get("audit"))[1]["entries"]]
        assert done[0] == "retry dead letters of"


async def test_a_queue_is_purged_only_if_its_name_was_typed(opened):
    async with opened() as mesh:
        await mesh.fail(2)
        path = "queues/em.dead.shop.sell/purge"
        assert (await mesh.post(path, {}))[0] == 422
        assert (await mesh.post(path, {"confirm": "em.dead.shop"}))[0] == 422
        assert (await mesh.post("queues/invoices/purge", {"confirm": "invoices"}))[0] == 422
        assert await mesh.post(path, {"confirm": "em.dead.shop.sell"}) == (200, {"purged": 2})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"X-Eventmesh-Console": "0"}, 403),
        (CHANGE | {"Content-Type": "text/plain"}, 415),
        (CHANGE | {"Origin": "https://evil.example"}, 403),
        (CHANGE | {"Host": "evil.example"}, 421),
    ],
)
async def test_no_page_of_others_changes_anything(opened, headers, status):
    async with opened() as mesh:
        answer = await mesh.post("functions/shop.sell/invoke", {"payload": TEA}, headers)
        assert answer[0] == status
        assert (await mesh.get("invocations"))[1]["invocations"] == []


async def test_one_that_only_shows_changes_nothing(opened):
    async with opened(read_only=True) as mesh:
        assert (await mesh.get("me"))[1]["read_only"] is True
        assert (await mesh.post("functions/shop.sell/invoke", {"payload": TEA}))[0] == 403
        assert (await mesh.get("invocations"))[1]["invocations"] == []


async def test_a_timer_is_paused_for_whoever_may(opened, shop):
    @shop.function(on.every("1d"))
    async def count() -> None: ...

    every = {"schedule": "every 1 d"}
    async with opened() as mesh:
        while not (timers := (await mesh.get("timers"))[1]["timers"]):
            await asyncio.sleep(0.01)  # Its process takes the lease first.
        assert [(each["function"], each["paused"]) for each in timers] == [("shop.count", None)]
        status, paused = await mesh.post("timers/shop.count/pause", every)
        assert (status, paused["timers"][0]["schedule"]) == (200, "every 1 d")
        assert paused["timers"][0]["paused"] is not None
        assert (await mesh.post("timers/shop.count/run", {}))[0] == 200
        assert (await mesh.post("timers/shop.count/resume", {}))[1]["timers"][0]["paused"] is None
        assert (await mesh.post("timers/shop.count/pause", {"schedule": "every 2 d"}))[0] == 404
        assert (await mesh.post("timers/shop.count/pause", {"schedule": 7}))[0] == 422
        assert (await mesh.post("timers/shop.count/pause", {}, {}))[0] == 403
        (entry, *_) = (await mesh.get("audit"))[1]["entries"]
        assert (entry["action"], entry["target"]) == ("resume timers of", "shop.count")
    async with opened(read_only=True) as mesh:
        assert (await mesh.post("timers/shop.count/pause", {}))[0] == 403


async def test_executions_are_asked_for_and_unknown_ones_are_said_to_be(opened):
    async with opened() as mesh:
        assert await mesh.get("executions") == (200, {"executions": [], "after": ""})
        assert (await mesh.get("executions?status=nonsense"))[0] == 422
        assert (await mesh.get("executions/none"))[0] == 404
        assert (await mesh.post("executions/none/stop", {"reason": "x" * 2000}))[0] == 422
        assert (await mesh.post("callbacks", {"callback": "none"}))[0] == 404
        status, problem = await mesh.post("callbacks", {"callback": {"secret": 1}})
        assert (status, "secret" in str(problem)) == (422, False)


async def test_queues_of_functions_that_nobody_serves_are_shown(opened):
    async def recorded():
        return {"shop.gone", "shop.empty", "shop.sell"}

    async with opened(recorded=recorded) as mesh:
        await mesh.broker.declare([inbox("shop.gone"), dead_letters("shop.gone")])
        letter = Message(b"null", "d-1", 1.0)
        await mesh.broker.publish(to_queue(dead_letters("shop.gone")), letter)
        (failed,) = (await mesh.get("failures"))[1]["functions"]
        assert (failed["function"], failed["served"]) == ("shop.gone", False)
        queues = (await mesh.get("state"))[1]["queues"]
    assert queues["em.dead.shop.gone"]["away"] == "no process serves its function"
    assert queues["em.inbox.shop.sell"]["away"] == ""
    assert "em.inbox.shop.empty" not in queues


async def test_findings_are_told_and_not_looked_for_each_time(opened):
    asked = []

    async def examine():
        asked.append(1)
        return [{"level": "ok", "subject": "broker", "what": "it runs", "advice": ""}]

    async with opened(examine=examine) as mesh:
        for _ in range(2):
            status, found = await mesh.get("findings")
            assert (status, found["findings"][0]["what"]) == (200, "it runs")
    assert asked == [1]
    async with opened() as mesh:
        assert await mesh.get("findings") == (200, {"findings": [], "examined": None})


async def test_the_page_may_load_nothing_of_others(opened):
    async with opened() as mesh:
        for path in ("", "functions/shop.sell"):
            async with mesh.http.get(path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert (answer.status, answer.content_type) == (200, "text/html")
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
        for path in ("api/nothing", "app/nothing.js", "app/../../serve.py"):
            async with mesh.http.get(path) as answer:
                assert answer.status == 404


async def test_elsewhere_it_does_not_start_without_tokens(opened):
    with pytest.raises(SettingsError, match="EVENTMESH_AUTH_FILE"):
        async with opened(http_host="0.0.0.0"):
            pass
