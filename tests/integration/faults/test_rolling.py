"""Workers are replaced under load, again and again: no request fails and nothing is lost."""

import asyncio
import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fleet import Progress
from launching import clean_environment, launched

from eventmesh.model.topology import dead_letters, inbox

APP = """
import logging, os
from eventmesh import Service, on

for name in ("eventmesh.access", "eventmesh.invocations"):
    logging.getLogger(name).setLevel(logging.WARNING)

service = Service("rolling", version="1")

@service.function(on.get("/double/{number}"))
async def double(number: int) -> int:
    return 2 * number

@service.function(on.queue("rolling.numbers", batch=10))
async def work(numbers: list[int]) -> None:
    os.write(1, "".join(f"worked {number}\\n" for number in numbers).encode())

@service.function
async def note(number: int) -> None:
    os.write(1, f"noted {number}\\n".encode())
"""
READY = r"is ready at (http://[0-9.:]+)"


class Load:
    """Clients of all kinds, each of which asks again as soon as it is answered."""

    def __init__(self, url, mesh):
        self.requests = self.invocations = 0
        self.sent = {"worked": set(), "noted": set()}
        self._url = url
        self._mesh = mesh
        self._over = False

    async def ask(self, *, keep_alive):
        headers = {} if keep_alive else {"Connection": "close"}
        async with aiohttp.ClientSession(self._url, headers=headers) as client:
            while not self._over:
                self.requests += 1
                async with client.get(f"/double/{self.requests}") as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()

    async def invoke(self):
        while not self._over:
            self.invocations += 1
            number = self.invocations
            doubled = await self._mesh.invoke("rolling.double", {"number": number}, timeout=60)
            assert doubled == 2 * number

    async def send(self, word, destination, payload):
        sent = self.sent[word]
        while not self._over:
            number = len(sent)
            await self._mesh.send(destination, payload(number))
            sent.add(number)

    @asynccontextmanager
    async def running(self):
        async with asyncio.TaskGroup() as tasks:
            for keep_alive in (True, True, False, False):
                tasks.create_task(self.ask(keep_alive=keep_alive))
            tasks.create_task(self.invoke())
            tasks.create_task(self.send("worked", "queue:rolling.numbers", int))
            tasks.create_task(self.send("noted", "rolling.note", lambda one: {"number": one}))
            yield
            self._over = True


@pytest.fixture
def app(tmp_path):
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def test_replacing_the_workers_fails_no_request_and_loses_nothing(
    rabbitmq, broker_at, mesh_of, app, size, record_figure
):
    rounds, workers = size(2, 5), size(2, 4)
    url = await rabbitmq.new_virtual_host()
    handled = {"worked": Progress(), "noted": Progress()}

    def listen(line):
        word, _, number = line.partition(" ")
        if word in handled:
            handled[word].add(int(number))

    async with (
        launched(
            *("run", f"--workers={workers}", "--port=0", "--admin-port=0", "app.py"),
            cwd=app,
            environment=clean_environment() | {"EVENTMESH_BROKER": url},
            listen=listen,
        ) as process,
        broker_at(url) as broker,
    ):
        for _ in range(workers):
            address = (await process.line(READY))[1]
        load = Load(address, mesh_of(broker))
        async with load.running():
            for _ in range(rounds):
                process.kill(signal.SIGHUP)
                # Each for itself: under load a worker takes its time to start.
                for _ in range(workers):
                    await process.line(r"worker \d+ \(process \d+\) has ended")
                await process.line("all workers are replaced")
        for word, sent in load.sent.items():
            await handled[word].reach(len(sent))
        for function in ("rolling.work", "rolling.note"):
            assert await broker.depth(dead_letters(function)) == 0
        process.kill(signal.SIGTERM)
        assert await process.code() == 0
        assert await broker.depth(inbox("rolling.note")) == 0

    assert all(handled[word].seen.keys() == sent for word, sent in load.sent.items())
    stored = sum(len(sent) for sent in load.sent.values())
    twice = sum(progress.duplicates for progress in handled.values())
    record_figure(
        f"rolling: {rounds * workers} workers replaced under {load.requests:,} requests, "
        f"{load.invocations:,} synchronous invocations and {stored:,} messages: no request "
        f"failed, none lost, {twice} handled twice"
    )
