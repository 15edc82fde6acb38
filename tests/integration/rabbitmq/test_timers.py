"""A leader of timers that loses its lease while it fires: it stops, and the next goes on."""

import asyncio
import logging
from itertools import pairwise

from eventmesh import Event, Service, on
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.context import Context
from eventmesh.host import host_services
from eventmesh.model.settings import Settings
from eventmesh.model.topology import lease_name


class HeldUp(RabbitBroker):
    """Publishes firings only while it is `open`; tells if one was begun and given up meanwhile."""

    def __init__(self, url, **options):
        super().__init__(url, **options)
        self.open = asyncio.Event()
        self.open.set()
        self.begun = asyncio.Event()
        self.given_up = asyncio.Event()

    async def publish(self, route, message, *, delay=0.0, give_up=True):
        if message.trigger == "every" and not self.open.is_set():
            self.begun.set()
            try:
                await self.open.wait()
            except asyncio.CancelledError:
                self.given_up.set()
                raise
        await super().publish(route, message, delay=delay, give_up=give_up)


async def test_a_leader_that_loses_its_lease_while_it_fires_stops_and_is_followed(
    rabbitmq, soon, until, caplog
):
    caplog.set_level(logging.INFO, "eventmesh")
    url = await rabbitmq.new_virtual_host()
    vhost = url.rpartition("/")[2]
    fired = {}

    def replica(broker):
        app = Service("clock")

        @app.function(on.every("200ms", catch_up="all"))
        async def tick(event: Event, ctx: Context) -> None:
            fired.setdefault(event.time, set()).add(ctx.id)

        return host_services([app], broker, Settings(grace=5), http=None)

    async def more(count):
        goal = len(fired) + count
        await until(lambda: len(fired) >= goal)

    async with (
        HeldUp(url, name="first", connect_timeout=30) as first,
        RabbitBroker(url, name="second", connect_timeout=30) as second,
        replica(first),
    ):
        await more(3)
        async with replica(second):
            first.open.clear()
            await soon(first.begun.wait())
            # Its connection for publishing stays: it could go on firing, and must not.
            await rabbitmq.close_connections("first (management)")
            await soon(first.given_up.wait())
            first.open.set()
            await more(5)
            async with asyncio.timeout(60):
                while "second (management)" not in await rabbitmq.active_consumer(
                    lease_name("clock"), vhost
                ):
                    pass
    assert "the timers of clock are not fired by this process" in caplog.text
    assert "and the work that needs it ends" in caplog.text
    moments = sorted(fired)
    steps = {round((after - before).total_seconds(), 3) for before, after in pairwise(moments)}
    assert steps == {0.2}
    assert all(len(ids) == 1 for ids in fired.values())
