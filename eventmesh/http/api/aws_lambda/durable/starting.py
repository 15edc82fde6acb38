"""How Invoke begins executions: each is kept before it is answered."""

from __future__ import annotations

import re
from typing import Final

from eventmesh.aio.clock import Clock, sleep
from eventmesh.durable.errors import ExecutionNameTaken
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.engine.policy import CallGuard
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.executions.aws.names import LATEST
from eventmesh.executions.callers.identity import beginning_principal
from eventmesh.executions.callers.outcome import execution_result
from eventmesh.executions.callers.starting import (
    begin_execution,
    named_execution_id,
    repeated_execution_id,
)
from eventmesh.executions.messages.contents import TENANT_HEADER
from eventmesh.executions.messages.headers import beginning_headers
from eventmesh.http.api.aws_lambda.durable.keepers import Keepers
from eventmesh.http.api.aws_lambda.responses import LambdaError
from eventmesh.http.protocol import CALL_ID
from eventmesh.http.server.request import Request
from eventmesh.model.errors import AccessDenied, InvocationTimeout
from eventmesh.model.invocation import SYNC
from eventmesh.model.message import Message
from eventmesh.model.result import Result
from eventmesh.model.value import value

NAME: Final = "X-Amz-Durable-Execution-Name"
ARN: Final = "X-Amz-Durable-Execution-Arn"

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_FIRST_LOOK: Final = 0.05
_LAST_LOOK: Final = 1.0
"""Seconds between two looks of a caller who waits for the end of an execution."""


@value
class Durable:
    """A durable function of this process, and what keeps its executions."""

    spec: FunctionSpec
    keeper: Keeper


def find_durable(
    request: Request, name: str, context: SourceContext, keepers: Keepers
) -> Durable | None:
    """Return a function if it is durable and in this process.

    Raises LambdaError for another function if the request names an execution.
    """
    spec, keeper = context.functions.get(name), keepers.find(name)
    if spec is not None and spec.durability is not None and keeper is not None:
        return Durable(spec, keeper)
    if NAME in request.headers:
        raise LambdaError(
            "InvalidParameterValueException",
            f"{NAME}: {name} is no durable function of this process",
        )
    return None


async def begin(durable: Durable, request: Request, message: Message, clock: Clock) -> Execution:
    """Begin the execution that a request asks for, or return the one that it asks for again.

    Raises LambdaError, AccessDenied and StoreUnavailable.
    """
    spec = durable.spec
    denial = CallGuard(spec).find_denial(invocation_from(message, spec.full_name, SYNC))
    if denial is not None:
        who = decode_identity(message.principal).principal or "a client without an identity"
        raise AccessDenied(f"{who} may not call {spec.full_name}: {denial}")
    id, name = _identify(spec.full_name, request, message)
    execution = Execution(
        id,
        name,
        spec.full_name,
        LATEST,
        clock.now(),
        timeout=None if spec.durability is None else spec.durability.execution_timeout,
        payload=message.body.decode(),
        tenant=message.headers.get(TENANT_HEADER, ""),
        headers=beginning_headers(message.headers, message.id),
        principal=beginning_principal(message.principal),
    )
    try:
        return await begin_execution(durable.keeper, execution)
    except ExecutionNameTaken as error:
        raise LambdaError("DurableExecutionAlreadyStartedException", str(error)) from None


def _identify(function: str, request: Request, message: Message) -> tuple[str, str]:
    """Return the id and the name of the execution."""
    name, call = request.headers.get(NAME), request.headers.get(CALL_ID)
    if name is not None:
        if _NAME.fullmatch(name) is None:
            raise LambdaError(
                "InvalidParameterValueException",
                f"{NAME}: a name has 1 to 64 letters, digits, '-' and '_'",
            )
        return named_execution_id(function, name), name
    if call is not None:
        # A client that got no answer asks again, with the same id of its call.
        who = decode_identity(message.principal).principal
        id = repeated_execution_id(function, who, call, message.body)
        return id, id
    return message.id, message.id


async def wait_for_end(
    durable: Durable, execution: Execution, clock: Clock, seconds: float
) -> Result:
    """Return the result of an execution once it has ended; InvocationTimeout after `seconds`."""
    pause, until = _FIRST_LOOK, clock.monotonic() + seconds
    while not execution.is_ended:
        left = until - clock.monotonic()
        if left <= 0:
            waited = f"{durable.spec.full_name} goes on after its timeout of {seconds:g} s"
            return Result(b"", error=InvocationTimeout(f"the execution of {waited}"))
        await sleep(clock, min(pause, left))
        pause = min(pause * 2, _LAST_LOOK)
        execution = await durable.keeper.read(execution.id)
    return execution_result(execution)
