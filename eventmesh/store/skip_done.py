"""A middleware that runs nothing which an earlier run has committed."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from eventmesh.abc import Handler, Middleware
from eventmesh.engine.store import ServiceStore
from eventmesh.model.errors import AlreadyDone, StoreUnavailable
from eventmesh.model.invocation import ASYNC, Batch, Invocation
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)


def skip_done(store: ServiceStore) -> Middleware:
    """Settle as a success what is marked as done, without a run.

    What may be a repetition is looked up before the run: a redelivery, or a later attempt. The
    others find out when they begin their transaction.
    """

    def wrap(handler: Handler) -> Handler:
        async def run(invocation: Invocation) -> Result:
            if invocation.mode != ASYNC:
                return await handler(invocation)
            try:
                if invocation.batch is not None:
                    return await _run_batch(store, handler, invocation, invocation.batch)
                return await _run_single(store, handler, invocation)
            except StoreUnavailable as error:
                return Result(b"", error=error)

        return run

    return wrap


async def _run_single(store: ServiceStore, handler: Handler, invocation: Invocation) -> Result:
    if _may_be_repeated(invocation) and await store.find_done(invocation.function, [invocation.id]):
        return _skip(invocation)
    result = await handler(invocation)
    return _skip(invocation) if isinstance(result.error, AlreadyDone) else result


async def _run_batch(
    store: ServiceStore, handler: Handler, invocation: Invocation, batch: Batch
) -> Result:
    """Run the items that are not done; if some turn out to be, run the others again."""
    if not _may_be_repeated(invocation) and len(set(batch.ids)) == len(batch.ids):
        result = await handler(invocation)
        if not _is_repetition(result):
            return result
    while True:
        done = await store.find_done(invocation.function, batch.ids)
        # Of two items with one id, the second is a copy of the first, and shares its fate.
        first = {id: index for index, id in reversed(list(enumerate(batch.ids)))}
        indexes = [
            index for id, index in sorted(first.items(), key=lambda each: each[1]) if id not in done
        ]
        _log.info(
            "%s: %d of %d items of a batch were done by an earlier run, and are not run",
            invocation.function,
            len(batch.ids) - len(indexes),
            len(batch.ids),
        )
        if not indexes:
            return Result()
        rest = Batch(
            [batch.bodies[index] for index in indexes], ids=[batch.ids[index] for index in indexes]
        )
        result = await handler(replace(invocation, batch=rest))
        if not _is_repetition(result):
            return _merge(result, batch, rest, indexes)


def _merge(result: Result, batch: Batch, rest: Batch, indexes: list[int]) -> Result:
    """Return the result of a part of a batch as that of the whole."""
    places = dict(enumerate(indexes))
    batch.invalid.update({places[index]: failure for index, failure in rest.invalid.items()})
    failures = {places[index]: failure for index, failure in (result.failures or {}).items()}
    if result.error is not None:
        failures |= dict.fromkeys(indexes, result.error)
        return Result(failures=failures)
    return replace(result, failures=failures or None)


def _is_repetition(result: Result) -> bool:
    return isinstance(result.error, AlreadyDone) or any(
        isinstance(failure, AlreadyDone) for failure in (result.failures or {}).values()
    )


def _may_be_repeated(invocation: Invocation) -> bool:
    return bool(invocation.redeliveries) or invocation.attempt > 1


def _skip(invocation: Invocation) -> Result:
    _log.info(
        "%s: invocation %s was done by an earlier run, and is not run again",
        invocation.function,
        invocation.id,
    )
    return Result()
