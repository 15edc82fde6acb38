"""The operations on executions: their paths, who may, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.errors import (
    CallbackNotFound,
    CallbackTimedOut,
    DurableError,
    ExecutionEnded,
    ExecutionNotFound,
)
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.spec import SourceContext
from eventmesh.executions.aws.callbacks import Completer, complete, read_completion
from eventmesh.executions.aws.checkpoints import StateQuery, checkpoint, read_state
from eventmesh.executions.aws.names import parse_execution_arn, parse_name
from eventmesh.http.api.aws_lambda.durable.answers import (
    INVALID,
    describe,
    first,
    list_executions,
    read_history,
    read_page,
)
from eventmesh.http.api.aws_lambda.durable.control import delete, pause, resume, stop
from eventmesh.http.api.aws_lambda.durable.keepers import Keepers
from eventmesh.http.api.aws_lambda.requests import raise_not_found, read_function_name
from eventmesh.http.api.aws_lambda.responses import (
    REQUEST_ID,
    LambdaError,
    lambda_error_from,
)
from eventmesh.http.api.guard import Action, ApiGuard, check_spelling
from eventmesh.http.protocol import DURABLE
from eventmesh.http.server.body import body_limit, read_body
from eventmesh.http.server.request import Request, parse_query
from eventmesh.http.server.response import BaseResponse, json_response
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues
from eventmesh.model.access.identity import Identity, Scope
from eventmesh.model.errors import InvocationError, Problem
from eventmesh.model.ids import new_id
from eventmesh.model.value import value

_ACCEPTED: Final = 202


@value
class _Asked:
    """A request that was admitted."""

    request: Request
    path: PathValues
    body: bytes
    identity: Identity


_Answer: TypeAlias = Callable[[_Asked], Awaitable[dict[str, Any]]]


class DurableApi:
    """Serves the executions of the services of this process."""

    def __init__(self, context: SourceContext, guard: ApiGuard, keepers: Keepers) -> None:
        self._context = context
        self._guard = guard
        self._keepers = keepers

    def routes(self) -> Sequence[BuiltinRoute]:
        """Return the routes of all operations."""
        one = f"{DURABLE}/durable-executions/{{arn}}"
        callback = f"{DURABLE}/durable-execution-callbacks/{{callback}}"
        of_function = f"{DURABLE}/functions/{{name}}/durable-executions"
        return (
            self._route("GET", one, "read", "show", self._describe),
            self._route("GET", f"{one}/history", "read", "show the history of", self._history),
            self._route("GET", of_function, "read", "list the executions of", self._list),
            self._route("DELETE", one, "manage", "delete", self._delete, _ACCEPTED),
            self._route("POST", f"{one}/stop", "manage", "stop", self._stop),
            self._route("POST", f"{one}/pause", "manage", "pause", self._pause, _ACCEPTED),
            self._route("POST", f"{one}/resume", "manage", "resume", self._resume, _ACCEPTED),
            self._route("POST", f"{one}/checkpoint", "manage", "checkpoint", self._checkpoint),
            self._route("GET", f"{one}/state", "manage", "read the state of", self._state),
            self._route("POST", f"{callback}/succeed", "invoke", "complete", self._succeed),
            self._route("POST", f"{callback}/fail", "invoke", "fail", self._fail),
            self._route("POST", f"{callback}/heartbeat", "invoke", "keep", self._heartbeat),
        )

    def _route(  # noqa: PLR0917  # one line of a table
        self, method: str, path: str, scope: Scope, verb: str, answer: _Answer, status: int = 200
    ) -> BuiltinRoute:
        return BuiltinRoute(method, path, self._guarded(scope, verb, answer, status))

    def _guarded(self, scope: Scope, verb: str, answer: _Answer, status: int) -> Endpoint:
        async def endpoint(request: Request, path: PathValues) -> BaseResponse:
            request_id = new_id()
            try:
                check_spelling(request)
                identity = await self._admit(request, scope, _name_action(verb, path))
                body = b""
                if request.method == "POST":
                    body = await read_body(request, body_limit(self._context.settings))
                answered = await answer(_Asked(request, path, body, identity))
                return json_response(status, answered, {REQUEST_ID: request_id}, request_id)
            except LambdaError as error:
                return error.response(request_id)
            except DurableError as error:
                return _refuse(error).response(request_id)
            except InvocationError as error:
                return lambda_error_from(error, "").response(request_id)
            except Problem as problem:
                shape = "ServiceException" if problem.status >= 500 else INVALID  # noqa: PLR2004
                return LambdaError(shape, problem.detail).response(request_id)

        return endpoint

    async def _admit(self, request: Request, scope: Scope, action: Action) -> Identity:
        return await self._guard.admit(request, scope, action)

    async def _describe(self, asked: _Asked) -> dict[str, Any]:
        kept = await self._keepers.read(asked.path["arn"])
        return describe(kept, parse_query(asked.request.target))

    async def _history(self, asked: _Asked) -> dict[str, Any]:
        kept = await self._keepers.read(asked.path["arn"])
        # Who may not complete callbacks does not see their ids, which are secrets.
        with_ids = asked.identity.may("invoke")
        return await read_history(kept, parse_query(asked.request.target), with_ids=with_ids)

    async def _list(self, asked: _Asked) -> dict[str, Any]:
        name = read_function_name(asked.request, asked.path["name"])
        keeper = self._keepers.find(name)
        if keeper is None:
            raise_not_found(name, "; ask a process that runs its service, which has a store")
        return await list_executions(keeper, name, parse_query(asked.request.target))

    async def _stop(self, asked: _Asked) -> dict[str, Any]:
        return await stop(await self._keepers.read(asked.path["arn"]), asked.body)

    async def _pause(self, asked: _Asked) -> dict[str, Any]:
        return await pause(await self._keepers.read(asked.path["arn"]), asked.body)

    async def _resume(self, asked: _Asked) -> dict[str, Any]:
        return await resume(await self._keepers.read(asked.path["arn"]), asked.body)

    async def _delete(self, asked: _Asked) -> dict[str, Any]:
        kept = await self._keepers.read(asked.path["arn"])
        return await delete(kept, self._context.clock.now())

    async def _checkpoint(self, asked: _Asked) -> dict[str, Any]:
        kept = await self._keepers.read(asked.path["arn"])
        return await checkpoint(kept.keeper, kept.execution.id, asked.body)

    async def _state(self, asked: _Asked) -> dict[str, Any]:
        kept = await self._keepers.read(asked.path["arn"])
        query = parse_query(asked.request.target)
        page = read_page(query)
        state = StateQuery(first(query, "CheckpointToken"), page.after, page.size)
        return await read_state(kept.keeper, kept.execution.id, state)

    async def _succeed(self, asked: _Asked) -> dict[str, Any]:
        return await self._complete(asked, "succeed")

    async def _fail(self, asked: _Asked) -> dict[str, Any]:
        return await self._complete(asked, "fail")

    async def _heartbeat(self, asked: _Asked) -> dict[str, Any]:
        return await self._complete(asked, "heartbeat")

    async def _complete(self, asked: _Asked, kind: str) -> dict[str, Any]:
        completion = read_completion(asked.path["callback"], kind, asked.body)
        context, principal = self._context, encode_identity(asked.identity)
        completer = Completer(context.environment.transport, context.clock.now, principal=principal)
        keeper = self._keepers.find(read_callback_id(completion.callback).function)
        await complete(keeper, completion, completer)
        return {}


def _name_action(verb: str, path: PathValues) -> Action:
    """Say what is done, for the audit log; the id of a callback is a secret, and not in there."""
    if "callback" in path:
        try:
            place = read_callback_id(path["callback"])
        except CallbackNotFound:
            return Action(f"{verb} a callback")
        return Action(f"{verb} a callback of", place.function, place.execution)
    if "arn" in path:
        name = parse_execution_arn(path["arn"])
        return Action(f"{verb} an execution of", *((name.function, name.id) if name else ()))
    return Action(verb, (parse_name(path["name"]) or ("",))[0])


def _refuse(error: DurableError) -> LambdaError:
    match error:
        case ExecutionNotFound() | CallbackNotFound():
            return LambdaError("ResourceNotFoundException", str(error))
        case CallbackTimedOut():
            return LambdaError("CallbackTimeoutException", str(error))
        case ExecutionEnded():
            return LambdaError("ResourceConflictException", str(error))
        case _:
            return LambdaError(INVALID, str(error))
