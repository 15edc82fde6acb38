"""What AWS's SDKs ask for from inside of an instance: to record, and to read what is recorded.

An instance reaches it at the address of its Runtime API, where only its own processes may connect,
and only for the executions whose turns it runs. The token of a checkpoint says of which turn.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.errors import (
    CallbackNotFound,
    CallbackTimedOut,
    DurableError,
    ExecutionNotFound,
)
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.spec import FunctionSpec
from eventmesh.executions.aws.callbacks import Completer, complete, read_completion
from eventmesh.executions.aws.checkpoints import StateQuery, checkpoint, read_state
from eventmesh.executions.aws.names import parse_execution_arn
from eventmesh.lambdas.api.server import Answer, Reply, Request, json_answer
from eventmesh.lambdas.durable.turns import RunningTurns
from eventmesh.model.errors import AccessDenied, InvocationError
from eventmesh.model.invocation import Invocation

_log: Final = logging.getLogger(__name__)

ROOT: Final = "/2025-12-01/"
ROOTS: Final = (ROOT, "/2015-03-31/functions/")
"""How the paths of the Lambda API begin: those that are not served are refused in its form."""

_COMPLETIONS: Final = ("succeed", "fail", "heartbeat")

_ERRORS: Final = (
    ((ExecutionNotFound, CallbackNotFound), (404, "ResourceNotFoundException")),
    ((CallbackTimedOut,), (400, "CallbackTimeoutException")),
    ((DurableError,), (400, "InvalidParameterValueException")),
    ((AccessDenied,), (403, "AccessDeniedException")),
)
"""What answers an error; 503 answers all others, which may be over soon."""

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of a checkpoint: of one payload of 6 MiB, as JSON, and of what comes with it."""


class TurnApi:
    """Serves the instances of one function."""

    def __init__(
        self,
        spec: FunctionSpec,
        running: RunningTurns,
        keeper: Keeper,
        transport: Transport,
        clock: Clock,
    ) -> None:
        self._spec = spec
        self._running = running
        self._keeper = keeper
        self._completer = Completer(transport, clock.now, caller=spec.full_name)

    async def reply(
        self, request: Request, reply: Reply, invocations: Collection[Invocation]
    ) -> None:
        """Answer a request of an instance that runs these invocations."""
        try:
            reply.send(await self._answer(request, invocations))
        except Exception:  # noqa: BLE001  # it would end the task group of all instances
            _log.exception("%s: a request of an instance was not answered", self._spec.full_name)
            reply.send(_refusal(500, "ServiceException", "it could not be recorded"))

    async def _answer(self, request: Request, invocations: Collection[Invocation]) -> Answer:
        try:
            return json_answer(200, await self._do(request, invocations))
        except (DurableError, InvocationError) as error:
            status, kind = next(
                (answer for types, answer in _ERRORS if isinstance(error, types)),
                (503, "ServiceException"),
            )
            return _refusal(status, kind, str(error))

    async def _do(self, request: Request, invocations: Collection[Invocation]) -> dict[str, Any]:
        match (request.method, *map(unquote, request.path.removeprefix(ROOT).split("/"))):
            case ("POST", "durable-executions", arn, "checkpoint"):
                return await self._checkpoint(self._find_run(arn, invocations), request)
            case ("GET", "durable-executions", arn, "state"):
                return await self._read_state(self._find_run(arn, invocations), request)
            case ("POST", "durable-execution-callbacks", id, kind) if kind in _COMPLETIONS:
                await self._complete(id, kind, request)
                return {}
            case _:
                what = f"{request.method} {request.path[:200]}"
                raise AccessDenied(
                    f"{what} is not answered here: this address is for what a durable function "
                    "records, and for callbacks; give other clients an endpoint_url"
                )

    def _find_run(self, arn: str, invocations: Collection[Invocation]) -> str:
        """Return the id of an execution that the instance runs now. Raises AccessDenied."""
        name = parse_execution_arn(arn)
        if (
            name is None
            or name.function != self._spec.full_name
            or not self._running.is_run_by(name.id, invocations)
        ):
            raise AccessDenied(f"{arn[:300]} is no execution that this instance runs now")
        return name.id

    async def _checkpoint(self, id: str, request: Request) -> dict[str, Any]:
        if request.size > MAX_BODY:
            raise DurableError(f"a checkpoint has {MAX_BODY:,} bytes at most: this has more")
        return await checkpoint(self._keeper, id, request.body, self._spec.outgoing)

    async def _complete(self, id: str, kind: str, request: Request) -> None:
        """Complete a callback, in the name of the function."""
        if request.size > MAX_BODY:
            raise DurableError(f"a result has {MAX_BODY:,} bytes at most: this has more")
        completion = read_completion(id, kind, request.body)
        function = read_callback_id(id).function
        if self._spec.outgoing is not None:
            self._spec.outgoing.check_call(function)
        is_ours = function.partition(".")[0] == self._spec.service
        await complete(self._keeper if is_ours else None, completion, self._completer)

    async def _read_state(self, id: str, request: Request) -> dict[str, Any]:
        query = {name: texts[0] for name, texts in parse_qs(request.query).items()}
        return await read_state(self._keeper, id, read_query(query))


def read_query(query: dict[str, str]) -> StateQuery:
    """Read the query of GetDurableExecutionState. Raises DurableError."""
    size = query.get("MaxItems", "0")
    if not (size.isascii() and size.isdecimal()):
        raise DurableError(f"MaxItems: {size[:20]!r} is no number")
    return StateQuery(query.get("CheckpointToken", ""), query.get("Marker", ""), int(size[:6]))


def _refusal(status: int, kind: str, message: str) -> Answer:
    """Return an error in the form of the Lambda API."""
    blame = "User" if status < 500 else "Service"  # noqa: PLR2004
    content = {"Type": blame, "message": message, "Message": message}
    return json_answer(status, content, [("x-amzn-ErrorType", kind)])
