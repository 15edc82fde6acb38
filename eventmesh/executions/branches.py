"""Contexts within a context: one after another, and side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import TypeVar

from eventmesh.durable.operation import OperationUpdate
from eventmesh.executions.errors import operation_error, to_error_object
from eventmesh.executions.session import Session
from eventmesh.executions.step import encode_result, read_result
from eventmesh.model.result import HANDLER_ERRORS

T = TypeVar("T")


async def run_context(
    session: Session,
    start: OperationUpdate,
    body: Callable[[], Awaitable[T]],
    result_type: object,
    *,
    keep: bool,
) -> T:
    """Run the code of a context, and record how it ended; with `keep`, also what it returned.

    Raises the error that a later turn would raise too.
    """
    try:
        returned = await body()
        update = replace(start, action="SUCCEED", payload=encode_result(returned) if keep else None)
    except HANDLER_ERRORS as error:
        failure = to_error_object(error)
        await session.record(replace(start, action="FAIL", error=failure))
        raise operation_error(session.operations[start.id]) from error
    await session.record(update)
    if not keep:
        return returned
    kept: T = read_result(session.operations[start.id], result_type)
    return kept


async def run_branches(
    session: Session, runs: Sequence[Callable[[], Coroutine[object, object, T]]], limit: int | None
) -> list[T]:
    """Run all, at most `limit` at once, and return their results; then raise the first error."""
    permits = asyncio.Semaphore(limit or max(len(runs), 1))

    async def run_one(run: Callable[[], Coroutine[object, object, T]]) -> T | BaseException:
        async with permits:
            try:
                return await run()
            except HANDLER_ERRORS as error:
                to_error_object(error)  # Raises a cancellation from outside.
                return error

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run_one(run)) for run in runs]
        session.add_branches(tasks)
        async with session.joining():
            outcomes = [await task for task in tasks]
    results: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
        results.append(outcome)
    return results
