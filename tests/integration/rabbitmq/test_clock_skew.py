"""Hosts whose clocks differ: a caller's deadline goes by its own, and a run's by its own."""

import time

import pytest

from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.rabbitmq import RabbitBroker
from eventmesh.engine.context import Context
from eventmesh.host import host_services
from eventmesh.model.errors import InvocationTimeout
from eventmesh.model.settings import Settings
from eventmesh.service import Service

TIMEOUT = 60.0


class SkewedClock(SystemClock):
    """The clock of a host whose time of day, and time since it was started, are its own."""

    def __init__(self, ahead):
        self._ahead = ahead

    def now(self):
        return time.time() + self._ahead

    def monotonic(self):
        return time.monotonic() + 100_000 + self._ahead


@pytest.mark.parametrize("ahead", [-70.0, 70.0])
async def test_a_host_whose_clock_is_wrong_runs_what_it_is_asked(rabbitmq, soon, ahead):
    url = await rabbitmq.new_virtual_host()
    app, clock = Service("app"), SkewedClock(ahead)

    @app.function(timeout=None)
    async def remaining(ctx: Context) -> float:
        assert ctx.remaining is not None
        return ctx.remaining

    @app.function(timeout=None)
    async def ask(ctx: Context) -> float:
        return await ctx.invoke(remaining)

    async with (
        RabbitBroker(url, name="right", connect_timeout=60) as ours,
        RabbitBroker(url, name="wrong", connect_timeout=60, clock=clock) as theirs,
        host_services([], ours, Settings(), http=None) as here,
        host_services([app], theirs, Settings(), http=None, clock=clock),
    ):
        for function in ("app.remaining", "app.ask"):
            left = await soon(here.caller.invoke(function, returns=float, timeout=TIMEOUT))
            assert 0 < left <= TIMEOUT
        # It still ends where the caller stops waiting.
        with pytest.raises(InvocationTimeout):
            await here.caller.invoke("app.remaining", timeout=0.0)
