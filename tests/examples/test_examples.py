"""Each example does what its docstring says. The test of an example is named after its file."""

import asyncio
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from eventmesh import FunctionError, Throttled
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters

ROOT = Path(__file__).parents[2]
ORDER = {"item": "tea", "count": 3}


def test_every_example_has_its_test():
    examples = {path.stem for path in ROOT.glob("examples/*.py")}
    assert len(examples) >= 12
    assert {f"test_{name}" for name in examples} <= globals().keys()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )


def test_the_launcher_finds_the_services_of_every_example():
    files = sorted(ROOT.glob("examples/*.py"))
    listed = python("-m", "eventmesh", "list", *map(str, files)).stdout
    for file in files:
        text = file.read_text()
        assert f"eventmesh dev examples/{file.name}" in text
        for service in re.findall(r' = Service\("(\w+)"', text):
            assert f"{service}." in listed


async def test_hello_http(example, client):
    async with example.mesh(http=True) as mesh:
        async with client.get(f"{mesh.url}/hello/Ada?times=2") as reply:
            assert (reply.status, await reply.json()) == (200, {"text": "Hello, Ada! Hello, Ada!"})
        async with client.post(f"{mesh.url}/hello", json={"name": "Ada"}) as reply:
            assert (reply.status, await reply.json()) == (201, {"text": "Welcome, Ada!"})
        async with client.get(f"{mesh.url}/hello/Ada?times=6") as reply:
            assert reply.status == 422
            (error,) = (await reply.json())["errors"]
            assert "5" in str(error)
        async with client.post(f"{mesh.url}/hello", json={"name": ""}) as reply:
            assert reply.status == 422
        assert await mesh.invoke("hello.greet", {"name": "Ada"}) == {"text": "Hello, Ada!"}


async def test_queue_worker(example, logged):
    async with example.mesh() as mesh:
        await mesh.send("queue:pictures", {"name": "cat.png", "width": 200})
        await mesh.send("queue:pictures", {"name": "dog.png"})
        await mesh.settle()
    lines = [line.partition(" (")[0] for line in logged()]
    assert sorted(lines) == ["cat.png is now 200 wide", "dog.png is now 100 wide"]


async def test_cron(example, logged):
    # From the last day of winter time, a Saturday, to the Monday after.
    async with example.mesh(start=datetime(2026, 3, 28, tzinfo=UTC)) as mesh:
        await mesh.advance("2d 6h")
        daily = [fired for fired in mesh.fired if fired.function == "reports.daily"]
        assert [fired.scheduled for fired in daily] == [datetime(2026, 3, 30, 5, tzinfo=UTC)]
        assert [event.json for event in mesh.emitted] == [{"day": "2026-03-30"}]
    assert len(logged()) == 54 * 60
    assert logged()[0] == "still here at 2026-03-28 00:01:00+00:00"


async def test_event_fanout(example, client, logged):
    async with example.mesh(http=True) as mesh:
        async with client.post(f"{mesh.url}/orders", json=ORDER) as reply:
            assert reply.status == 201
        await mesh.settle()
        assert sorted(logged()) == [
            "counted: order.placed of tea",
            "reserved: 3 x tea",
            "written down: order.placed from /shop.place",
        ]
        await mesh.emit("order.cancelled", ORDER)
        await mesh.emit("stock.empty")
        await mesh.settle()
    assert sorted(logged()[3:]) == [
        "counted: order.cancelled of ",
        "written down: order.cancelled from /",
        "written down: stock.empty from /",
    ]


async def test_batch_partial_failure(example):
    amounts = {"a": 10, "b": -5, "closed": 30, "c": 20}
    async with example.mesh(allow_failures=True) as mesh:
        for account, amount in amounts.items():
            await mesh.send("queue:payments", {"account": account, "amount": amount})
        await mesh.send("queue:payments", {"account": "no amount"})
        await mesh.settle()
        assert mesh.emitted == []
        await mesh.advance("1s")
        assert [event.json for event in mesh.emitted] == [{"total": 30, "failed": 2}]
        assert [retry.json["account"] for retry in mesh.retried] == ["b"]
        reasons = {letter.json["account"]: letter.reason for letter in mesh.dead_letters}
        assert reasons["closed"] == "the account is closed"
        assert "amount: Field required" in reasons["no amount"]
        await mesh.advance("1m")
        assert [retry.attempt for retry in mesh.retried] == [2, 3]
        assert mesh.dead_letters[-1].json["account"] == "b"


async def test_retry_and_dead_letter(example, logged):
    async with example.mesh(allow_failures=True) as mesh:
        for name in ("flaky", "down", "nobody", "busy", "ada"):
            await mesh.send("mailer.deliver", {"to": f"{name}@example.com"})
        await mesh.settle()
        assert [letter.reason for letter in mesh.dead_letters] == ["there is no nobody@example.com"]
        await mesh.advance("5m")
        delays = {name: [] for name in ("flaky", "down", "busy")}
        for retry in mesh.retried:
            delays[retry.json["to"].partition("@")[0]].append(retry.delay)
        assert delays == {"flaky": [2, 6], "down": [2, 6, 18], "busy": [30]}
        assert mesh.dead_letters[-1].error_message == "ConnectionError: the server does not answer"
        assert mesh.dead_letters[-1].attempts == 4
        assert await BrokerDeadLetters(mesh.broker, mesh.clock).redrive("mailer.deliver") == 2
        await mesh.settle()
        assert len(mesh.dead_letters) == 3
    assert logged() == [
        "delivered to ada@example.com at attempt 1",
        "delivered to flaky@example.com at attempt 3",
        "delivered to busy@example.com at attempt 2",
    ]


async def test_concurrency_limit(example, client, monkeypatch):
    async with example.mesh(http=True) as mesh:
        monkeypatch.setattr(example.module, "asyncio", SimpleNamespace(sleep=mesh.sleep))

        async def print_page(number):
            async with client.post(f"{mesh.url}/pages/{number}/print") as reply:
                return reply.status, reply.headers.get("Retry-After")

        refused = asyncio.Event()

        async def expect(number):
            outcome = await print_page(number)
            if outcome[0] == 429:
                refused.set()
            return outcome

        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(expect(number)) for number in range(4)]
            # One is refused once two run and one waits: all four have arrived by then.
            await refused.wait()
            with pytest.raises(Throttled):
                await mesh.invoke("printer.print_page", {"page": 5})
            await mesh.send("printer.print_page", {"page": 6})
            await mesh.advance("10s")
        outcomes = sorted(call.result() for call in calls if call.result()[0] != 429)
        assert outcomes == [(200, None)] * 3
        assert [call.result()[1] for call in calls if call.result()[0] == 429] == ["1"]


async def test_mesh_wide_limit(example, monkeypatch):
    async with example.mesh() as mesh:
        monkeypatch.setattr(example.module, "asyncio", SimpleNamespace(sleep=mesh.sleep))
        start = mesh.now
        for city in ("Rome", "Oslo", "Lima"):
            await mesh.send("weather.fetch", {"city": city})
        await mesh.advance("1m")
        fetched = [
            (event.json["city"], (event.time - start).total_seconds()) for event in mesh.emitted
        ]
        assert fetched == [("Rome", 1), ("Oslo", 2), ("Lima", 3)]


async def test_resource_injection(example, client):
    async with example.mesh(http=True) as mesh:
        for text in ("milk", "bread"):
            async with client.post(f"{mesh.url}/notes", json={"text": text}) as reply:
                assert reply.status == 201
        async with client.get(f"{mesh.url}/notes") as reply:
            assert await reply.json() == [{"text": "milk"}, {"text": "bread"}]

    class Fake:
        def all(self):
            return [example.module.Note(text="eggs")]

    async with example.mesh(resources={example.module.Notes: Fake()}) as mesh:
        assert await mesh.invoke("notes.read") == [{"text": "eggs"}]


async def test_streaming(example, client):
    async with example.mesh(http=True) as mesh:
        url = f"{mesh.url}/countdown/2?interval=0"
        async with client.get(url) as reply:
            assert reply.content_type == "application/x-ndjson"
            assert await reply.text() == '{"seconds":2}\n{"seconds":1}\n{"seconds":0}\n'
        async with client.get(url, headers={"Accept": "text/event-stream"}) as reply:
            assert reply.content_type == "text/event-stream"
            assert (await reply.text()).startswith('data: {"seconds":2}\n\n')
        ticks = await mesh.invoke("rocket.countdown", {"start": 1, "interval": 0})
        assert ticks == [{"seconds": 1}, {"seconds": 0}]


async def test_calling(example, client):
    async with (
        example.mesh(http=True) as mesh,
        client.post(f"{mesh.url}/trips", json={"city": "Rome", "nights": 3}) as reply,
    ):
        assert await reply.json() == {"price": 240.0, "forecast": "unknown"}
    async with example.mesh(stubs={"weather.forecast": "sunny"}) as mesh:
        offer = await mesh.invoke("trips.plan", {"city": "Rome"})
        assert offer == {"price": 80.0, "forecast": "sunny"}
        assert [(call.function, call.caller) for call in mesh.invoked[1:]] == [
            ("hotels.price", "trips.plan"),
            ("weather.forecast", "trips.plan"),
        ]


async def test_testing_with_clock(example):
    tests = [test for name, test in vars(example.module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        await test()


async def test_destinations(example, logged):
    async with example.mesh(allow_failures=True) as mesh:
        await mesh.send("videos.encode", {"name": "holiday.mov"})
        await mesh.send("videos.encode", {"name": "broken.mov"})
        with pytest.raises(FunctionError):
            await mesh.invoke("videos.encode", {"name": "broken.mov"})
        await mesh.advance("1m")
    assert logged() == [
        "holiday.webm is there",
        "broken.mov failed: all 2 attempts failed",
    ]


async def test_design_section2(example, client, logged):
    async with example.mesh(http=True, start=datetime(2026, 1, 1, tzinfo=UTC)) as mesh:
        async with client.post(f"{mesh.url}/orders", json=ORDER) as reply:
            assert (reply.status, await reply.json()) == (200, {"total": 12.0})
        await mesh.send("queue:invoices", {"number": 7, "total": 12.5})
        await mesh.emit("payment.received", {"invoice": 7})
        await mesh.advance("29s")
        assert logged() == []
        await mesh.advance("1s")
        assert logged() == ["a receipt over 12.00"]
        await mesh.advance("1d")
        assert [event.type for event in mesh.emitted] == ["order.placed", "payment.received"]
        assert [(fired.function, fired.scheduled) for fired in mesh.fired] == [
            ("orders.reconcile", datetime(2026, 1, 1, 2, tzinfo=UTC))
        ]
