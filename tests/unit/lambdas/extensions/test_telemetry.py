"""Batches of telemetry: their limits, and what is dropped."""

import asyncio
import json

import pytest

from eventmesh.aio.tasks import task_group
from eventmesh.lambdas.api.server import Request
from eventmesh.lambdas.extensions.registry import Extension
from eventmesh.lambdas.extensions.telemetry import LOGS, MAX_EARLY, TELEMETRY, Telemetry
from eventmesh.testing.clock import ManualClock


class Receiver:
    """Listens as an extension does; `statuses` are what it answers, then 200."""

    def __init__(self):
        self.batches = asyncio.Queue()
        self.statuses = []
        self.hosts = []

    async def take(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(size)
        self.hosts.append(head.partition("Host: ")[2].partition("\r\n")[0])
        status = self.statuses.pop(0) if self.statuses else 200
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()
        if status == 200:
            self.batches.put_nowait(json.loads(body))

    async def get(self):
        async with asyncio.timeout(60):
            return await self.batches.get()


class Replies:
    owner = 1
    is_open = True

    def __init__(self):
        self.answers = []

    def send(self, answer):
        self.answers.append(answer)


@pytest.fixture
async def receiver():
    return Receiver()


@pytest.fixture
async def port(receiver):
    server = await asyncio.start_server(receiver.take, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
async def clock():
    return ManualClock()


@pytest.fixture
async def telemetry(clock, port):
    async with task_group() as tasks:
        made = Telemetry(clock, tasks, lambda given: given == port)
        yield made
        made.close()


def subscribe(telemetry, port, path=TELEMETRY, name="own", **change):
    wanted = {
        "types": ["platform", "function"],
        "buffering": {"maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 100},
        "destination": {"protocol": "HTTP", "URI": f"http://sandbox:{port}/x"},
    }
    body = json.dumps(wanted | change).encode()
    replies = Replies()
    extension = Extension(name, frozenset(), external=True)
    telemetry.answer(Request("PUT", path, {}, body, len(body)), extension, replies)
    (answer,) = replies.answers
    return answer.status


def kinds(batch):
    return [event["type"] for event in batch]


async def test_what_came_before_is_there_too(telemetry, receiver, port, clock):
    telemetry.emit("platform", "platform.initStart", {"phase": "init"})
    telemetry.emit("extension", "extension", "not asked for")
    assert subscribe(telemetry, port) == 200
    telemetry.emit("function", "function", "a line\n")
    await clock.advance(0.1)
    batch = await receiver.get()
    assert kinds(batch) == ["platform.initStart", "platform.telemetrySubscription", "function"]
    assert batch[0]["record"] == {"phase": "init"}
    assert batch[0]["time"].endswith("Z")
    assert receiver.hosts == [f"sandbox:{port}"]


async def test_a_full_batch_does_not_wait(telemetry, receiver, port):
    assert subscribe(telemetry, port) == 200
    for _ in range(999):
        telemetry.emit("function", "function", "x")
    assert len(await receiver.get()) == 1000


async def test_large_events_make_smaller_batches(telemetry, receiver, port, clock):
    assert subscribe(telemetry, port, types=["function"]) == 200
    for _ in range(3):
        telemetry.emit("function", "function", "x" * 100_000)
    await clock.advance(0.1)
    assert len(await receiver.get()) == 2
    assert len(await receiver.get()) == 1


async def test_what_is_too_much_is_dropped_and_told(telemetry, receiver, port, clock):
    assert subscribe(telemetry, port, types=["function"]) == 200
    for _ in range(10):
        telemetry.emit("function", "function", "x" * 100_000)
    first = await receiver.get()
    assert kinds(first) == ["function", "function", "platform.logsDropped"]
    told = first[-1]["record"]
    assert told["droppedRecords"] == 5
    assert told["droppedBytes"] > 500_000
    assert "fallen behind" in told["reason"]
    assert [len(await receiver.get()), len(await receiver.get())] == [2, 1]


async def test_a_batch_is_sent_again_and_then_dropped(telemetry, receiver, port, clock):
    assert subscribe(telemetry, port, types=["function"]) == 200
    receiver.statuses = [500, 503]
    telemetry.emit("function", "function", "first")
    await clock.advance(0.1)
    assert kinds(await receiver.get()) == ["function"]
    receiver.statuses = [500] * 3
    telemetry.emit("function", "function", "second")
    await clock.advance(0.1)
    async with asyncio.timeout(60):
        while receiver.statuses:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0)
    telemetry.emit("function", "function", "third")
    await clock.advance(0.1)
    batch = await receiver.get()
    assert batch[0]["record"] == "third"
    assert batch[1]["record"]["droppedRecords"] == 1


async def test_the_logs_api_has_types_of_its_own(telemetry, receiver, port, clock):
    telemetry.emit("platform", "platform.initStart", {})
    assert subscribe(telemetry, port, LOGS) == 200
    telemetry.emit("platform", "platform.end", {"requestId": "1"})
    await clock.advance(0.1)
    assert kinds(await receiver.get()) == ["platform.logsSubscription", "platform.end"]


@pytest.mark.parametrize(
    "change",
    [
        {"types": []},
        {"types": ["secrets"]},
        {"buffering": {"maxItems": 10_001}},
        {"buffering": {"maxBytes": 1}},
        {"buffering": {"timeoutMs": 30_001}},
        {"destination": {"protocol": "TCP", "port": 1}},
        {"destination": {"protocol": "HTTP", "URI": "http://example.org:80/"}},
        {"destination": {"protocol": "HTTP", "URI": "https://sandbox:1/"}},
        {"destination": {"protocol": "HTTP", "URI": "http://sandbox:1/"}},
        {"destination": {"protocol": "HTTP", "URI": "http://sandbox:x/"}},
    ],
)
async def test_what_cannot_be_subscribed(telemetry, port, change):
    assert subscribe(telemetry, port, **change) == 400


async def test_it_is_too_late_after_the_start(telemetry, port):
    for _ in range(2 * MAX_EARLY):
        telemetry.emit("function", "function", "x")
    telemetry.complete_start()
    assert subscribe(telemetry, port) == 403
    assert not telemetry.is_wanted
