"""Runs in threads that outlast their timeout, on a real RabbitMQ with two processes."""

import threading
from contextlib import asynccontextmanager

from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox
from eventmesh.service import Service

MESSAGES = 4


async def test_a_run_that_hangs_keeps_its_slot_and_spends_nothing_of_others(rabbitmq, until, soon):
    url = await rabbitmq.new_virtual_host()
    going_on, lock = threading.Event(), threading.Lock()
    app = Service("app")
    begun: list[int] = []
    running, most = 0, 0

    @app.function(reserved_concurrency=1, timeout=0.2, retry=Retry(attempts=100, initial=0.1))
    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            begun.append(number)
            running += 1
            most = max(most, running)
        if len(begun) == 1:
            going_on.wait(60)
        with lock:
            running -= 1

    @asynccontextmanager
    async def process(name):
        async with (
            RabbitBroker(url, name=name, connect_timeout=60) as broker,
            host_services([app], broker, Settings(grace=10), http=None) as host,
        ):
            yield broker, host

    def waiting(host):
        return host.stuck() and host.statistics()["app.work"]["waiting"]

    async with process("one") as (broker, one), process("other") as (_, other):
        for number in range(MESSAGES):
            await one.caller.send("app.work", {"number": number})
        # The first run has timed out, and what its process took next waits for it: another would
        # run beside it.
        await until(lambda: len(begun) > 1 or any(waiting(host) for host in (one, other)))
        assert begun == [0]
        assert [host.stuck() for host in (one, other)].count(["app.work"]) == 1
        going_on.set()
        # On a busy machine others time out as well, and begin once more.
        everything = set(range(MESSAGES))
        await until(lambda: begun.count(0) > 1 and set(begun) == everything and not running)
        assert most == 1
        assert await soon(broker.depth(dead_letters("app.work"))) == 0
        assert await soon(broker.depth(inbox("app.work"))) == 0
