"""CheckpointDurableExecution and GetDurableExecutionState: what the code of a turn asks for.

Shapes are those of the service model (Lambda 2015-03-31, the operations of 2025-12-01). Times in
answers are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, cast

import orjson

from eventmesh.durable.changes import Call
from eventmesh.durable.checkpoint import record_checkpoint
from eventmesh.durable.errors import InvalidUpdate
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Keeper, Page
from eventmesh.durable.operation import Operation, OperationUpdate
from eventmesh.durable.shapes import execution_operation, operation_fields, parse_updates
from eventmesh.durable.transition import Transition
from eventmesh.executions.aws.names import (
    LATEST,
    build_execution_arn,
    parse_name,
)
from eventmesh.executions.messages.contents import send_commands
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.errors import AccessDenied, DeclarationError
from eventmesh.model.topology import check_function
from eventmesh.model.value import value

MAX_ITEMS: Final = 1000
"""Operations in one page, as in the service model."""

PAGE_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the payloads and results in one page; a single operation may have more."""

_MAX_TOKEN: Final = 2048


async def checkpoint(
    keeper: Keeper, id: str, body: bytes, outgoing: Outgoing | None = None
) -> dict[str, Any]:
    """Record the updates of a checkpoint, and return its answer.

    `outgoing` is what the function may invoke; None leaves that open. Without a token in the answer
    the invocation must end: the execution has ended. Raises InvalidUpdate, StaleToken,
    ExecutionNotFound and StoreUnavailable.
    """
    request = _read_object(body)
    token = request.get("CheckpointToken")
    if not isinstance(token, str) or not 0 < len(token) <= _MAX_TOKEN:
        raise InvalidUpdate("Invalid checkpoint token: CheckpointToken is missing, or too long")
    updates = [_with_name(update) for update in parse_updates(request.get("Updates") or [])]
    for update in updates:
        if update.function and outgoing is not None:
            _check_call(outgoing, update.function)
    ids = {update.id for update in updates} | {update.parent for update in updates}
    async with keeper.change(id, ids) as change:
        execution, known = change.execution, change.execution.checkpoint
        goes_on = record_checkpoint(change.transition, token, updates, body, _describe)
        is_repeated = execution.checkpoint == known
        since = execution.told_before if is_repeated else execution.told
        if not is_repeated:
            execution.told_before, execution.told = execution.told, execution.change
        await send_commands(change)
        next_token = change.transition.token
    news = [each for each in execution.operations.values() if each.changed > since]
    answer: dict[str, Any] = {
        "NewExecutionState": {"Operations": [operation_fields(each) for each in news]}
    }
    return answer | {"CheckpointToken": next_token} if goes_on else answer


@value
class StateQuery:
    """What GetDurableExecutionState is asked for: with `size` 0, as much as one page may have."""

    token: str = field(repr=False)
    marker: str = ""
    size: int = 0


async def read_state(keeper: Keeper, id: str, query: StateQuery) -> dict[str, Any]:
    """Return a page of the operations of an execution, for the invocation that has the token.

    Raises StaleToken, ExecutionNotFound and StoreUnavailable.
    """
    execution = await keeper.read(id)
    Transition(execution, 0.0).check_fence(query.token)
    marker = query.marker
    page = Page(min(query.size, MAX_ITEMS) or MAX_ITEMS, marker)
    operations, goes_on_at = await keeper.read_operations(id, page)
    kept = fit_page(operations)
    if len(kept) < len(operations):
        goes_on_at = str(int(marker or 0) + len(kept))
    fields = [operation_fields(each) for each in kept]
    if not marker:
        fields.insert(0, execution_operation(execution))
    return {"Operations": fields} | ({"NextMarker": goes_on_at} if goes_on_at else {})


def fit_page(operations: Iterable[Operation]) -> Sequence[Operation]:
    """Return as many operations, from the first one, as one page may have: one at the least."""
    kept: list[Operation] = []
    size = 0
    for operation in operations:
        size += _size(operation)
        if kept and (size > PAGE_BYTES or len(kept) == MAX_ITEMS):
            break
        kept.append(operation)
    return kept


def first_page(execution: Execution) -> tuple[Sequence[Operation], str]:
    """Return the operations that an invocation begins with, and where the others go on, or ""."""
    operations = list(execution.operations.values())
    kept = fit_page(operations)
    return kept, str(len(kept)) if len(kept) < len(operations) else ""


def _size(operation: Operation) -> int:
    error = operation.error
    texts = [operation.result, operation.name]
    if error is not None:
        texts += [error.message, error.data, *(error.stack_trace or ())]
    return 300 + sum(len(text.encode()) for text in texts if text)


def _read_object(body: bytes) -> Mapping[str, Any]:
    try:
        request: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidUpdate("the body of a checkpoint is no JSON") from None
    if not isinstance(request, dict):
        raise InvalidUpdate("the body of a checkpoint is no JSON object")
    return cast(dict[str, Any], request)


def _with_name(update: OperationUpdate) -> OperationUpdate:
    """Replace an ARN, or a name with a version, by the name that a function has here."""
    if not update.function:
        return update
    name, qualifier = parse_name(update.function) or ("", "")
    try:
        if qualifier not in ("", LATEST):
            raise DeclarationError(f"a function has one version, {LATEST}")
        return replace(update, function=check_function(name))
    except DeclarationError as error:
        raise InvalidUpdate(
            f"the function {update.function!r} cannot be invoked: {error}"
        ) from None


def _check_call(outgoing: Outgoing, function: str) -> None:
    try:
        outgoing.check_call(function)
    except AccessDenied as error:
        raise InvalidUpdate(str(error)) from None


def _describe(call: Call) -> dict[str, Any]:
    arn = build_execution_arn(call.function, call.execution, call.execution)
    return {"ExecutedVersion": LATEST, "DurableExecutionArn": arn}
