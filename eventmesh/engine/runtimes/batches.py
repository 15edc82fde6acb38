"""One run of a handler that takes batches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from eventmesh.engine.binding import Signature
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.model.errors import FunctionError, PartialFailure
from eventmesh.model.invocation import Batch, Invocation
from eventmesh.model.result import HANDLER_ERRORS, Failure, Result

Arguments: TypeAlias = dict[str, Any]
RunBatch: TypeAlias = Callable[[Invocation, Batch], Awaitable[Result]]


def build_batch_run(
    signature: Signature,
    inject: Callable[[Arguments, Invocation], None],
    call: Callable[..., Awaitable[Any]],
) -> RunBatch:
    """Build what runs batches: items that do not validate fail, the handler gets the others.

    Raises DeclarationError for a handler that does not take batches.
    """
    bind = signature.build_batch_binder()

    async def run(invocation: Invocation, batch: Batch) -> Result:
        arguments, good, invalid = bind(batch.bodies)
        batch.invalid.update(invalid)
        failures: dict[int, Failure] = dict(invalid)
        if not good:
            return Result(failures=failures)
        inject(arguments, invocation)
        try:
            await call(**arguments)
        except PartialFailure as partial:
            failures |= _failed_items(partial, good)
        except HANDLER_ERRORS as error:
            failure = failure_from(error)
            if len(good) == len(batch.bodies):
                return Result(b"", error=failure)
            failures |= dict.fromkeys(good, failure)
        return Result(failures=failures or None)

    return run


def _failed_items(partial: PartialFailure, good: list[int]) -> dict[int, Failure]:
    """Return the failures of the items, by their indexes in the whole batch."""
    items = dict(enumerate(good))
    for index in partial.failures:
        if index not in items:
            failure: Failure = FunctionError(
                "IndexError",
                f"PartialFailure names item {index!r}, but the handler got {len(good)} items",
            )
            return dict.fromkeys(good, failure)
    return {items[index]: _item_failure(why) for index, why in partial.failures.items()}


def _item_failure(why: Exception | str) -> Failure:
    if isinstance(why, BaseException):
        return failure_from(why)
    return FunctionError("PartialFailure", str(why))
