import asyncio
from dataclasses import dataclass

import pytest

from eventmesh.aio.tasks import task_group
from eventmesh.http.api.aws_lambda import idempotency
from eventmesh.http.api.aws_lambda.idempotency import KEPT_SECONDS, MAX_KEPT_BYTES, IdempotencyCache
from eventmesh.model.errors import Throttled
from eventmesh.testing.clock import ManualClock


@dataclass
class Done:
    number: int
    repeatable: bool = False
    size: int = 1


class Calls:
    """Counts the runs of a call, which ends when it is let."""

    def __init__(self, **outcome):
        self.runs = 0
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.begun = asyncio.Event()
        self.outcome = outcome

    async def run(self):
        self.runs += 1
        self.begun.set()
        await self.may_end.wait()
        return Done(self.runs, **self.outcome)


@pytest.fixture
async def clock():
    return ManualClock()


@pytest.fixture
async def calls_once(clock):
    async with task_group() as tasks:
        yield IdempotencyCache(tasks, clock)


async def test_a_repetition_joins_the_call_that_runs(calls_once, clock):
    calls = Calls()
    calls.may_end.clear()
    async with asyncio.TaskGroup() as clients:
        first = clients.create_task(calls_once.run_once(("a",), calls.run))
        await calls.begun.wait()
        second = clients.create_task(calls_once.run_once(("a",), calls.run))
        await clock.settle()
        calls.may_end.set()

    assert first.result() is second.result()
    assert calls.runs == 1


async def test_a_call_goes_on_when_its_client_leaves(calls_once):
    calls = Calls()
    calls.may_end.clear()
    client = asyncio.ensure_future(calls_once.run_once(("a",), calls.run))
    await calls.begun.wait()
    client.cancel()
    with pytest.raises(asyncio.CancelledError):
        await client

    calls.may_end.set()

    assert await calls_once.run_once(("a",), calls.run) == Done(1)


async def test_an_outcome_is_kept_for_a_while(calls_once, clock):
    calls = Calls()
    await calls_once.run_once(("a",), calls.run)
    await clock.advance(KEPT_SECONDS - 1)
    assert await calls_once.run_once(("a",), calls.run) == Done(1)

    await clock.advance(1)

    assert await calls_once.run_once(("a",), calls.run) == Done(2)


async def test_other_keys_are_other_calls(calls_once):
    calls = Calls()

    await calls_once.run_once(("a", "b"), calls.run)
    await calls_once.run_once(("a", "c"), calls.run)

    assert calls.runs == 2


async def test_what_was_not_run_is_run_by_the_next_try(calls_once):
    calls = Calls(repeatable=True)

    await calls_once.run_once(("a",), calls.run)
    await calls_once.run_once(("a",), calls.run)

    assert calls.runs == 2


async def test_outcomes_of_so_many_bytes_are_kept_the_last_ones(calls_once):
    calls = Calls(size=MAX_KEPT_BYTES // 2)
    for key in "abc":
        await calls_once.run_once((key,), calls.run)

    assert await calls_once.run_once(("c",), calls.run) == Done(3, size=MAX_KEPT_BYTES // 2)
    assert await calls_once.run_once(("a",), calls.run) == Done(4, size=MAX_KEPT_BYTES // 2)


async def test_an_outcome_that_is_too_large_is_not_kept(calls_once):
    calls = Calls(size=MAX_KEPT_BYTES + 1)

    await calls_once.run_once(("a",), calls.run)
    await calls_once.run_once(("a",), calls.run)

    assert calls.runs == 2


async def test_too_many_calls_at_once_are_refused(calls_once, monkeypatch):
    monkeypatch.setattr(idempotency, "MAX_RUNNING", 1)
    calls = Calls()
    calls.may_end.clear()
    client = asyncio.ensure_future(calls_once.run_once(("a",), calls.run))
    await calls.begun.wait()

    with pytest.raises(Throttled):
        await calls_once.run_once(("b",), calls.run)

    calls.may_end.set()
    assert await client == Done(1)
