"""One run for many items: those that failed, and only those, come back."""

import asyncio

import pytest
from pydantic import BaseModel, field_validator

from eventmesh.engine.context import Context
from eventmesh.model.errors import (
    FunctionError,
    PartialFailure,
    PayloadInvalid,
    Reject,
    RetryLater,
)


class Item(BaseModel):
    n: int

    @field_validator("n")
    @classmethod
    def known(cls, n):
        if n == 13:
            raise KeyError("of the validator")
        return n


GOOD = [b'{"n": 0}', b'{"n": 1}', b'{"n": 2}']
MIXED = [GOOD[0], b"not json", GOOD[1], b'{"n": "x"}', GOOD[2]]


def kinds(failures):
    return {index: type(failure).__name__ for index, failure in failures.items()}


async def test_all_items_reach_the_handler_at_once(run):
    seen = []

    async def work(items: list[Item], ctx: Context) -> None:
        seen.append(([item.n for item in items], ctx.id))

    result = await run(work, batch=GOOD)
    assert seen == [([0, 1, 2], "a-1")]
    assert (result.error, result.failures) == (None, None)


@pytest.mark.parametrize("threaded", [False, True])
async def test_items_that_do_not_fit_fail_alone(run, threaded):
    seen = []

    async def work(items: list[Item]) -> None:
        seen.append([item.n for item in items])

    def work_in_thread(items: list[Item]) -> None:
        seen.append([item.n for item in items])

    result = await run(work_in_thread if threaded else work, batch=MIXED)
    assert seen == [[0, 1, 2]]
    assert result.error is None
    assert kinds(result.failures) == {1: "PayloadInvalid", 3: "PayloadInvalid"}


async def test_a_validator_with_a_bug_fails_its_item_alone(run):
    seen = []

    async def work(items: list[Item]) -> None:
        seen.append([item.n for item in items])

    result = await run(work, batch=[GOOD[0], b'{"n": 13}', GOOD[2]])
    assert seen == [[0, 2]]
    assert kinds(result.failures) == {1: "FunctionError"}
    assert result.failures[1].type == "KeyError"


async def test_a_batch_without_one_good_item_is_not_run(run):
    async def work(items: list[Item]) -> None:
        raise AssertionError("never run")

    result = await run(work, batch=[b"x", b"y"])
    assert kinds(result.failures) == {0: "PayloadInvalid", 1: "PayloadInvalid"}


async def test_a_partial_failure_names_items_of_the_list_the_handler_got(run):
    later, reject = RetryLater(after=5), Reject("fake")

    async def work(items: list[Item]) -> None:
        raise PartialFailure({0: "why", 1: later, 2: ValueError("x")})

    result = await run(work, batch=MIXED)
    assert result.error is None
    assert kinds(result.failures) == {
        0: "FunctionError",
        1: "PayloadInvalid",
        2: "RetryLater",
        3: "PayloadInvalid",
        4: "FunctionError",
    }
    assert result.failures[2] is later
    assert (result.failures[0].type, result.failures[0].message) == ("PartialFailure", "why")
    assert (result.failures[4].type, result.failures[4].message) == ("ValueError", "x")

    async def reject_one(items: list[Item]) -> None:
        raise PartialFailure({1: reject})

    assert (await run(reject_one, batch=GOOD)).failures == {1: reject}


@pytest.mark.parametrize("index", [3, -1, "1", None], ids=repr)
async def test_a_partial_failure_of_what_was_no_item_fails_them_all(run, index):
    async def work(items: list[Item]) -> None:
        raise PartialFailure({0: "why", index: "what?"})

    result = await run(work, batch=[*GOOD, b"bad"])
    assert kinds(result.failures) == {
        0: "FunctionError",
        1: "FunctionError",
        2: "FunctionError",
        3: "PayloadInvalid",
    }
    assert f"names item {index!r}, but the handler got 3 items" in result.failures[2].message


@pytest.mark.parametrize("why", [None, 3, asyncio.CancelledError()], ids=repr)
async def test_whatever_a_partial_failure_says_is_a_failure(run, why):
    async def work(items: list[Item]) -> None:
        raise PartialFailure({1: why})

    assert kinds((await run(work, batch=GOOD)).failures) == {1: "FunctionError"}


async def test_no_failures_are_no_failures(run):
    async def work(items: list[Item]) -> None:
        raise PartialFailure({})

    result = await run(work, batch=GOOD)
    assert (result.error, result.failures) == (None, None)


@pytest.mark.parametrize(
    "raised", [ValueError("all"), RetryLater(after=3), asyncio.CancelledError()], ids=repr
)
async def test_what_a_handler_raises_fails_all_that_it_got(run, raised):
    async def work(items: list[Item]) -> None:
        raise raised

    result = await run(work, batch=GOOD)
    assert result.failures is None
    assert result.error is raised or isinstance(result.error, FunctionError)
    mixed = await run(work, batch=MIXED)
    assert mixed.error is None
    assert [index for index, one in mixed.failures.items() if isinstance(one, PayloadInvalid)] == [
        1,
        3,
    ]
    assert mixed.failures.keys() == {0, 1, 2, 3, 4}


async def test_a_cancellation_from_outside_goes_on(run, clock):
    async def work(items: list[Item]) -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(run(work, batch=GOOD))
    await clock.settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
