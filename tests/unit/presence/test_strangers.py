"""What a stranger says of the processes of others, and of too many of its own."""

from dataclasses import replace

import pytest

from eventmesh.model.topology import to_presence
from eventmesh.presence import observe, observer
from eventmesh.presence.instance import (
    ALIVE,
    GONE,
    HERE,
    INSTANCES,
    Heartbeat,
    presence_message,
)


def ignore(instances):
    """Nobody is told of changes."""


async def test_only_who_announced_a_process_speaks_for_it(broker, clock, process, tell, caplog):
    async with observe(broker, clock, ignore) as mesh:
        await tell(HERE, process.instance, "shop")
        await tell(GONE, Heartbeat("one"), "evil")
        await tell(ALIVE, Heartbeat("one", {"shop.sell": 9}), "evil")
        await tell(HERE, replace(process.instance, host="evil"), "evil")
        assert mesh.instances == {"one": process.instance}
        await tell(GONE, Heartbeat("one"), "shop")
        assert mesh.instances == {}
    assert "'evil' speaks for a process of 'shop'" in caplog.text


async def test_who_says_that_it_starts_in_future_started_when_it_was_first_seen(
    broker, clock, process, tell
):
    async with observe(broker, clock, ignore) as mesh:
        first = clock.now()
        for _ in range(3):
            await tell(HERE, replace(process.instance, started=9e15), "evil")
            assert mesh.instances["one"].started == first
            await clock.advance(1)


@pytest.mark.parametrize(("bound", "most"), [("MAX_INSTANCES", 3), ("MAX_BYTES", 900)])
async def test_processes_are_bounded(broker, clock, process, tell, monkeypatch, bound, most):
    monkeypatch.setattr(observer, bound, most)
    async with observe(broker, clock, ignore) as mesh:
        for number in range(10):
            await tell(HERE, replace(process.instance, id=str(number)), "evil")
        assert 1 <= len(mesh.instances) <= 3
        # Who is known goes on.
        await tell(HERE, replace(process.instance, id="0", host="b"), "evil")
        assert mesh.instances["0"].host == "b"


@pytest.mark.parametrize("timeout", ["NaN", "1e999", "-1"])
async def test_a_timeout_that_is_none_is_refused(broker, clock, process, timeout):
    async with observe(broker, clock, ignore) as mesh:
        body = INSTANCES.dump_json(process.instance).replace(b"30.0", timeout.encode())
        message = presence_message(HERE, body, clock.now())
        await broker.publish(to_presence(HERE), message)
        await clock.settle()
        assert mesh.instances == {}
