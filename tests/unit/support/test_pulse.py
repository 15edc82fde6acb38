"""A process that stood still has more time, and one that was kept busy is found out."""

import asyncio
import time

import pulse as pulses
import pytest
from pulse import Pulse, Standstill


@pytest.fixture(autouse=True)
def _shorter(monkeypatch):
    monkeypatch.setattr(pulses, "BEAT", 0.01)
    monkeypatch.setattr(pulses, "STILL", 0.2)
    monkeypatch.setattr(pulses, "KEPT", 1.0)


async def stand_still(pulse, seconds):
    """Keep the event loop from going on, and wait until that has been seen."""
    before = len(pulse.standstills)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)  # noqa: ASYNC251 - that is the fault
    while len(pulse.standstills) == before:
        await asyncio.sleep(0)


async def test_a_limit_is_longer_by_a_standstill():
    pulse = Pulse()
    with pulse.beating():
        async with pulse.limit(2):
            await stand_still(pulse, 2.1)
            await asyncio.sleep(0.01)


async def test_a_limit_ends_what_waits():
    pulse = Pulse()
    with pulse.beating(), pytest.raises(TimeoutError):
        async with pulse.limit(0.05):
            await asyncio.get_running_loop().create_future()


async def test_what_keeps_the_event_loop_is_named():
    pulse = Pulse()
    with pulse.beating():
        await stand_still(pulse, 3)
    (seen,) = pulse.standstills
    assert seen.is_our_own
    assert "in stand_still" in str(seen)


def test_a_process_that_was_stopped_did_nothing_wrong():
    assert not Standstill(180, 0.2, "").is_our_own


def test_one_that_was_busy_did():
    assert Standstill(180, 175.0, "").is_our_own
