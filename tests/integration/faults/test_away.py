"""The broker is away, or takes nothing: what callers see, and that all works again."""

import asyncio
import time

import pytest

from eventmesh import Context, Retry, RetryLater, Service
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.host import host_services
from eventmesh.model.errors import BrokerUnavailable, FunctionNotFound, InvocationError
from eventmesh.model.settings import Settings
from eventmesh.model.topology import dead_letters, inbox

SETTINGS = Settings(grace=5)


def service():
    app = Service("away")
    handled = asyncio.Queue()

    @app.function
    async def work(number: int) -> int:
        handled.put_nowait(number)
        return number

    return app, handled


async def until_it_works(call):
    """Repeat a call until the broker takes it again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call()
            except InvocationError:
                await asyncio.sleep(0)


async def arrived(handled, number):
    """Take what was handled until this number comes."""
    async with asyncio.timeout(60):
        while await handled.get() != number:
            pass


async def until_nothing_is_taken(mesh, function="nowhere.work", payload=None):
    """Send until the broker refuses all messages."""
    async with asyncio.timeout(60):
        while True:
            try:
                await mesh.send(function, payload)
            except BrokerUnavailable as error:
                # That it did not confirm one may be because it is busy.
                if "takes no messages now" in str(error):
                    return
            except FunctionNotFound:
                await asyncio.sleep(0)


@pytest.mark.disruptive
async def test_while_the_broker_is_away_calls_fail_in_time_and_then_all_works_again(
    rabbitmq, mesh_of, size, record_figure
):
    seconds = size(2, 30)
    url = await rabbitmq.new_virtual_host()
    app, handled = service()
    async with (
        RabbitBroker(url, publish_timeout=1.0) as broker,
        host_services([app], broker, SETTINGS, http=None),
    ):
        mesh = mesh_of(broker)
        assert broker.ready
        await rabbitmq.stop()
        back, refused = time.monotonic() + seconds, 0
        while time.monotonic() < back or not refused:
            with pytest.raises(BrokerUnavailable):
                await mesh.send("away.work", {"number": 1})
            with pytest.raises(InvocationError):
                await mesh.invoke("away.work", {"number": 1}, timeout=1)
            assert not broker.ready
            refused += 2
        await rabbitmq.start()
        await until_it_works(lambda: mesh.send("away.work", {"number": 2}))
        await arrived(handled, 2)
        assert await until_it_works(lambda: mesh.invoke("away.work", {"number": 3})) == 3
        assert broker.ready
    record_figure(f"away: {seconds} s without a broker, in which {refused} calls were refused")


@pytest.mark.disruptive
async def test_a_memory_alarm_refuses_new_work_and_says_so(rabbitmq, mesh_of):
    url = await rabbitmq.new_virtual_host()
    app, handled = service()
    async with (
        RabbitBroker(url, publish_timeout=2.0) as broker,
        host_services([app], broker, SETTINGS, http=None),
    ):
        mesh = mesh_of(broker)
        await rabbitmq.raise_memory_alarm()
        # The alarm is raised a moment after the command has ended.
        await until_nothing_is_taken(mesh, "away.work", {"number": 5})
        with pytest.raises(BrokerUnavailable, match="takes no messages now"):
            await mesh.send("away.work", {"number": 6})
        assert not broker.ready
        await rabbitmq.clear_memory_alarm()
        await until_it_works(lambda: mesh.send("away.work", {"number": 7}))
        await arrived(handled, 7)


@pytest.mark.disruptive
async def test_what_fails_during_an_alarm_runs_once_and_is_retried_when_it_is_over(
    rabbitmq, broker_at, mesh_of
):
    url = await rabbitmq.new_virtual_host()
    app, runs, alarm = Service("away"), asyncio.Queue(), asyncio.Event()

    @app.function(retry=Retry(2, initial=0.1))
    async def work(ctx: Context, number: int) -> None:
        runs.put_nowait((number, ctx.attempt))
        await alarm.wait()
        raise ValueError("colour")

    numbers = range(5)
    async with (
        RabbitBroker(url, publish_timeout=0.5) as broker,
        broker_at(url) as patient,
        host_services([app], broker, SETTINGS, http=None) as host,
    ):
        mesh, sender = mesh_of(broker), mesh_of(patient)
        for number in numbers:
            await sender.send("away.work", {"number": number})
        async with asyncio.timeout(60):
            assert {await runs.get() for _ in numbers} == {(number, 1) for number in numbers}
            await rabbitmq.raise_memory_alarm()
            await until_nothing_is_taken(mesh)
        alarm.set()
        read = host.metrics.registry.get_sample_value
        async with asyncio.timeout(60):
            while read("eventmesh_settlements_waiting", {"function": "away.work"}) < len(numbers):
                await asyncio.sleep(0.01)
        # Without the wait they would be back by now: what is requeued comes at once.
        assert await broker.depth(inbox("away.work")) == 0
        assert runs.empty()
        await rabbitmq.clear_memory_alarm()
        async with asyncio.timeout(60):
            assert {await runs.get() for _ in numbers} == {(number, 2) for number in numbers}
            while await broker.depth(dead_letters("away.work")) < len(numbers):
                await asyncio.sleep(0.01)
    assert runs.empty()


@pytest.mark.disruptive
async def test_a_retry_whose_confirm_is_late_is_stored_once(rabbitmq, broker_at, mesh_of):
    url = await rabbitmq.new_virtual_host()
    app, runs, frozen = Service("away"), asyncio.Queue(), asyncio.Event()

    @app.function(retry=Retry(2))
    async def work(ctx: Context, number: int) -> None:
        runs.put_nowait((number, ctx.attempt))
        await frozen.wait()
        raise RetryLater(0)

    numbers = range(5)
    async with (
        RabbitBroker(url, publish_timeout=0.5) as broker,
        broker_at(url) as patient,
        host_services([app], broker, SETTINGS, http=None),
        asyncio.timeout(120),
    ):
        mesh, sender = mesh_of(broker), mesh_of(patient)
        for number in numbers:
            await sender.send("away.work", {"number": number})
        assert {await runs.get() for _ in numbers} == {(number, 1) for number in numbers}
        await rabbitmq.pause()
        frozen.set()
        for _ in range(3):  # Each takes as long as the retries would wait if they gave up.
            with pytest.raises(BrokerUnavailable):
                await mesh.send("away.other")
        await rabbitmq.resume()
        assert {await runs.get() for _ in numbers} == {(number, 2) for number in numbers}
        while await broker.depth(dead_letters("away.work")) < len(numbers):
            await asyncio.sleep(0.01)
        assert await broker.depth(inbox("away.work")) == 0
    assert runs.empty()
