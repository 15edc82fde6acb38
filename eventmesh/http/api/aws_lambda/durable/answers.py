"""What the API answers: an execution, its history, and which there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast, get_args

from eventmesh.durable.execution import ExecutionStatus
from eventmesh.durable.keeper import ExecutionFilter, Keeper, Page
from eventmesh.durable.shapes import event_fields, execution_details, execution_fields
from eventmesh.executions.aws.names import arn, execution_arn, version_arn
from eventmesh.http.api.aws_lambda.durable.keepers import Kept
from eventmesh.http.api.aws_lambda.responses import LambdaError

INVALID: Final = "InvalidParameterValueException"
DEFAULT_ITEMS: Final = 100
MAX_ITEMS: Final = 1000

HIDDEN_ID: Final = "hidden"
"""Stands for the id of a callback. It is none: base64 has a length that is a multiple of four."""

Query = Mapping[str, Sequence[str]]


def describe(kept: Kept, query: Query) -> dict[str, Any]:
    """Return what GetDurableExecution answers."""
    execution = kept.execution
    with_data = read_flag(query, "IncludeExecutionData", default=True)
    function = version_arn(execution.function)
    return execution_details(execution, execution_arn(execution), function, data=with_data)


async def read_history(kept: Kept, query: Query, *, with_ids: bool) -> dict[str, Any]:
    """Return what GetDurableExecutionHistory answers; without the ids of callbacks, if need be."""
    with_data = read_flag(query, "IncludeExecutionData", default=True)
    events, marker = await kept.keeper.read_history(
        kept.execution.id,
        read_page(query),
        newest_first=read_flag(query, "ReverseOrder", default=False),
    )
    fields = [event_fields(event, data=with_data) for event in events]
    if not with_ids:
        for each in fields:
            details = each.get("CallbackStartedDetails")
            if details is not None:
                each["CallbackStartedDetails"] = {**details, "CallbackId": HIDDEN_ID}
    return {"Events": fields} | _next(marker)


async def list_executions(keeper: Keeper, function: str, query: Query) -> dict[str, Any]:
    """Return what ListDurableExecutionsByFunction answers."""
    which = ExecutionFilter(
        function,
        first(query, "DurableExecutionName"),
        tuple(_read_status(status) for status in query.get("Statuses", ())),
        _read_time(query, "StartedAfter"),
        _read_time(query, "StartedBefore"),
        newest_first=not read_flag(query, "ReverseOrder", default=False),
    )
    found, marker = await keeper.list(which, read_page(query))
    fields = [execution_fields(each, execution_arn(each), arn(each.function)) for each in found]
    return {"DurableExecutions": fields} | _next(marker)


def _next(marker: str) -> dict[str, Any]:
    return {"NextMarker": marker} if marker else {}


def first(query: Query, name: str, default: str = "") -> str:
    """Return the first value of that name in a query."""
    return next(iter(query.get(name, ())), default)


def read_flag(query: Query, name: str, *, default: bool) -> bool:
    """Read a boolean of a query. Raises LambdaError."""
    text = first(query, name, "true" if default else "false").lower()
    if text not in ("true", "false"):
        raise LambdaError(INVALID, f"{name}: {text[:20]!r} is neither true nor false")
    return text == "true"


def read_page(query: Query) -> Page:
    """Read MaxItems and Marker of a query. Raises LambdaError."""
    text = first(query, "MaxItems", "0")
    if not (text.isascii() and text.isdecimal()) or int(text[:6]) > MAX_ITEMS:
        raise LambdaError(INVALID, f"MaxItems: {text[:20]!r} is no number from 0 to {MAX_ITEMS}")
    return Page(int(text) or DEFAULT_ITEMS, first(query, "Marker"))


def _read_status(text: str) -> ExecutionStatus:
    if text not in get_args(ExecutionStatus):
        known = ", ".join(get_args(ExecutionStatus))
        raise LambdaError(INVALID, f"Statuses: there is no {text[:20]!r}: there are {known}")
    return cast(ExecutionStatus, text)


def _read_time(query: Query, name: str) -> float | None:
    text = first(query, name)
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LambdaError(INVALID, f"{name}: {text[:40]!r} is no time (ISO 8601)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
