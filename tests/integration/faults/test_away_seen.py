"""The broker is away, blocked, or loses what it had: what whoever runs `eventmesh run` sees.

docs/operations.md says all of this to users.
"""

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import aiohttp
import pytest
from launching import clean_environment, launched

APP = """
import os
from eventmesh import Context, Service, on

service = Service("away")

@service.function(on.get("/local"))
async def local() -> str:
    return "here"

@service.function(on.post("/orders"))
async def order(ctx: Context) -> None:
    await ctx.send("away.work", {"number": 1})

@service.function(on.get("/double/{number}"))
async def double(number: int, ctx: Context) -> int:
    return await ctx.invoke("away.twice", {"number": number}, returns=int, timeout=5)

@service.function
async def twice(number: int) -> int:
    return 2 * number

@service.function
async def work(number: int) -> None:
    os.write(1, f"worked {number}\\n".encode())
"""
READY = r"is ready at (http://[0-9.:]+)"
WORKED = "^worked 1$"
PATIENCE = 60


class Seen:
    """The command as its user sees it: log, HTTP, health."""

    def __init__(self, process, admin):
        self.process = process
        self.url = ""
        self._admin = admin

    async def ready(self):
        self.url = (await self.process.line(READY))[1]

    async def ask(self, method, path):
        """The status of an answer of the service, and what is in it."""
        async with aiohttp.request(method, self.url + path) as answer:
            return answer.status, await answer.json()

    async def order(self):
        status, _ = await self.ask("POST", "/orders")
        return status

    async def readiness(self):
        async with aiohttp.request("GET", f"{self._admin}/readyz") as answer:
            checks = json.loads(await answer.text())["checks"]
            return answer.status, checks["worker 1 services"], checks["worker 1 broker"]

    async def until(self, expected, ask):
        """Ask until this is the answer."""
        answer = None
        try:
            async with asyncio.timeout(PATIENCE):
                while answer != expected:
                    answer = await ask()
        except TimeoutError:
            raise AssertionError(f"{answer} and never {expected}") from None

    async def works(self):
        """Wait until all goes its ordinary way."""
        await self.until((200, "running", "ready"), self.readiness)
        await self.until((200, 42), lambda: self.ask("GET", "/double/21"))
        await self.until(200, self.order)
        await self.process.line(WORKED)

    async def stop(self):
        self.process.kill(signal.SIGTERM)
        assert await self.process.code() == 0


@pytest.fixture
def running(tmp_path):
    """`eventmesh run` over a broker, as far as it comes without it."""
    (tmp_path / "app.py").write_text(APP)

    @asynccontextmanager
    async def running(url):
        arguments = ("run", "--port=0", "--admin-port=0", "--log-format=text", "app.py")
        environment = clean_environment() | {"EVENTMESH_BROKER": url}
        async with launched(*arguments, cwd=tmp_path, environment=environment) as process:
            yield Seen(process, (await process.line(r"of all workers: (http://\S+)$"))[1])

    return running


@pytest.mark.disruptive
async def test_started_before_its_broker(rabbitmq, running):
    url = await rabbitmq.new_virtual_host()
    await rabbitmq.stop()
    async with running(url) as seen, running(url) as other:
        await seen.process.line(r"worker 1: amqp://\S+ cannot be reached: .* trying again")
        await seen.until((503, "starting", "not ready"), seen.readiness)
        # Whoever does not want to wait any more may leave.
        await other.process.line("trying again until it works")
        await other.stop()
        await rabbitmq.start()
        await seen.ready()
        await seen.works()
        await seen.stop()


@pytest.mark.disruptive
async def test_the_broker_goes_and_comes_back(rabbitmq, running):
    url = await rabbitmq.new_virtual_host()
    async with running(url) as seen, running(url) as other:
        await other.ready()
        await seen.ready()
        await seen.works()
        await rabbitmq.stop()
        await seen.process.line(r"worker 1: RabbitMQ closed it: 320 .* trying again")
        await seen.until((503, "running", "not ready"), seen.readiness)
        assert await seen.ask("GET", "/local") == (200, "here")
        assert await seen.order() == 500
        await seen.process.line("away.order: .*BrokerUnavailable.*the message was not sent")
        await other.stop()
        await rabbitmq.start()
        await seen.works()
        assert not [line for line in seen.process.lines if "aiormq" in line]


async def test_a_queue_is_deleted_under_its_consumer(rabbitmq, running):
    url = await rabbitmq.new_virtual_host()
    async with running(url) as seen:
        await seen.ready()
        for queue in ("em.inbox.away.work", "em.rpc.away.twice"):
            await rabbitmq.delete_queue(queue, url.rpartition("/")[2])
            await seen.process.line(
                rf"the consumer of {queue} was started again: RabbitMQ cancelled it"
            )
        await seen.works()


@pytest.mark.disruptive
async def test_an_alarm_takes_no_new_work(rabbitmq, running):
    async with running(await rabbitmq.new_virtual_host()) as seen:
        await seen.ready()
        await rabbitmq.raise_memory_alarm()
        await seen.until(500, seen.order)
        await seen.process.line("BrokerUnavailable.*did not confirm|takes no messages now")
        await seen.until((503, "running", "not ready"), seen.readiness)
        assert await seen.ask("GET", "/local") == (200, "here")
        await rabbitmq.clear_memory_alarm()
        await seen.works()


@pytest.mark.disruptive
async def test_channels_end(rabbitmq, running):
    async with running(await rabbitmq.new_virtual_host()) as seen:
        await seen.ready()
        await rabbitmq.kill_channels()
        # RabbitMQ may end the whole connection for it, which is then what is logged.
        await seen.process.line(
            r"the consumer of em\.\S+ was started again"
            r"|RabbitMQ closed it: (541 )?INTERNAL_ERROR.* trying again"
        )
        await seen.works()
