"""Runs the turns of executions whose code is in instances: each is an invocation of one."""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Literal

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_pascal

from eventmesh.abc import Handler
from eventmesh.durable.errors import StaleToken
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Keeper
from eventmesh.durable.operation import ErrorObject
from eventmesh.durable.shapes import ErrorShape, invocation_payload
from eventmesh.durable.timers import advance, end_turn
from eventmesh.executions.aws.checkpoints import first_page
from eventmesh.executions.aws.names import execution_arn
from eventmesh.executions.errors import describe_failure
from eventmesh.executions.messages.contents import TENANT_HEADER, send_commands
from eventmesh.executions.turns import Turn
from eventmesh.lambdas.events import build_event
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import JSON
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)


class _Output(BaseModel):
    """What a turn returns: DurableExecutionInvocationOutput of AWS's SDKs."""

    model_config = ConfigDict(alias_generator=to_pascal, strict=True, hide_input_in_errors=True)

    status: Literal["SUCCEEDED", "FAILED", "PENDING"]
    result: str | None = None
    error: ErrorShape | None = None


_NO_OUTPUT: Final = ErrorObject(
    "Invalid Status in invocation output: a durable function returns SUCCEEDED, FAILED or PENDING, "
    "as the handlers of AWS's SDKs for durable functions do",
    "InvalidParameterValueException",
)


class RunningTurns:
    """The turns of one function that run in this process, by their executions."""

    def __init__(self) -> None:
        self._invocations: dict[str, Invocation] = {}

    @contextmanager
    def add(self, execution: str, invocation: Invocation) -> Generator[None]:
        """Know that the invocation is a turn of the execution while entered."""
        self._invocations[execution] = invocation
        try:
            yield
        finally:
            # Begun anew here, while the one before still ended, it is another invocation's.
            if self._invocations.get(execution) is invocation:
                del self._invocations[execution]

    def is_run_by(self, execution: str, invocations: Collection[Invocation]) -> bool:
        """Whether one of these invocations, those of one instance, is a turn of the execution."""
        running = self._invocations.get(execution)
        return running is not None and any(each is running for each in invocations)


class LambdaTurns:
    """Runs turns of one function on its instances."""

    def __init__(
        self, function: str, instances: Handler, keeper: Keeper, running: RunningTurns
    ) -> None:
        self._function = function
        self._instances = instances
        self._keeper = keeper
        self._running = running

    def read_input(self, invocation: Invocation) -> str:
        """Return the event that a function which is not durable would get."""
        return build_event(invocation).decode()

    async def run(self, turn: Turn, invocation: Invocation) -> Execution | None:
        given = replace(
            invocation,
            payload=_build_payload(turn),
            headers=_with_tenant(invocation.headers, turn.execution.tenant),
            content_type=JSON,
            trigger="invoke",
            type="",
            http=None,
            batch=None,
            wants_stream=False,
            attempt=1,
        )
        with self._running.add(turn.execution.id, given):
            result = await self._instances(given)
        return await self._end(turn, result)

    async def _end(self, turn: Turn, result: Result) -> Execution | None:
        """Record how a turn ended. Without an outcome, because its process died, it is repeated."""
        try:
            async with self._keeper.change(turn.execution.id) as change:
                if result.error is not None:
                    advance(change.transition)
                    change.transition.fail_invocation(turn.token, describe_failure(result.error))
                else:
                    end_turn(change.transition, turn.token, **_read_output(result.body))
                await send_commands(change)
                return change.execution
        except StaleToken as stale:
            _log.warning("%s: %s: what the turn returned is dropped", self._function, stale)
            return None


def _with_tenant(headers: Mapping[str, str], tenant: str) -> Mapping[str, str]:
    return {**headers, TENANT_HEADER: tenant} if tenant else headers


def _build_payload(turn: Turn) -> bytes:
    operations, marker = first_page(turn.execution)
    arn = execution_arn(turn.execution)
    return orjson.dumps(
        invocation_payload(
            turn.execution, arn, turn.token, operations, updated=turn.news, marker=marker
        )
    )


def _read_output(body: bytes) -> dict[str, Any]:
    """Read what a turn returned: the arguments of `end_turn`."""
    try:
        output = _Output.model_validate_json(body)
    except ValidationError:
        return {"status": "FAILED", "error": _NO_OUTPUT}
    if output.status == "PENDING":
        return {"status": None}
    if output.status == "SUCCEEDED":
        return {"status": "SUCCEEDED", "result": output.result}
    error = ErrorObject() if output.error is None else output.error.to_value()
    return {"status": "FAILED", "error": error}
