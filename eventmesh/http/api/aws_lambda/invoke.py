"""Invocation by name in the form of AWS Lambda's Invoke API.

`boto3.client("lambda", endpoint_url=…)` and `aws lambda invoke --endpoint-url …` work with it as
they are. `ApiGuard` says who may use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeAlias

import orjson

from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.codecs.json_bounds import check_nodes, find_syntax_error
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.executions.aws.names import execution_arn, parse_name
from eventmesh.http.api.aws_lambda.durable.keepers import Keepers
from eventmesh.http.api.aws_lambda.durable.starting import (
    ARN,
    Durable,
    begin,
    find_durable,
    wait_for_end,
)
from eventmesh.http.api.aws_lambda.idempotency import IdempotencyCache
from eventmesh.http.api.aws_lambda.requests import (
    INVALID,
    WAIT,
    digest,
    raise_not_found,
    read_client_context,
    read_function_name,
    read_invocation_type,
    read_seconds,
    read_tenant,
)
from eventmesh.http.api.aws_lambda.responses import (
    REQUEST_ID,
    FinishedCall,
    LambdaError,
    finished_response,
    lambda_error_from,
    was_not_run,
)
from eventmesh.http.api.aws_lambda.streamed import describe_end, streamed_response
from eventmesh.http.api.directory import FunctionDirectory, is_limited_in_mesh, is_public
from eventmesh.http.api.guard import Action, ApiGuard, check_spelling
from eventmesh.http.limits.bodies import BodyHold
from eventmesh.http.protocol import CALL_ID, LAMBDA, TIMEOUT
from eventmesh.http.server.body import BodyLimit, body_limit, read_body
from eventmesh.http.server.problems import UNAVAILABLE_RETRY_SECONDS
from eventmesh.http.server.request import (
    Request,
    read_content_type,
    read_message_headers,
)
from eventmesh.http.server.response import BaseResponse, BytesResponse
from eventmesh.http.server.routing import PathValues
from eventmesh.model.access.identity import Identity, Scope
from eventmesh.model.errors import (
    AccessDenied,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    StoreUnavailable,
    Throttled,
)
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import SYNC
from eventmesh.model.invocation.log_tail import LogTail
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.message import Message
from eventmesh.model.result import Failure, Result
from eventmesh.model.settings import Settings

INVOKE: Final = f"{LAMBDA}/{{name}}/invocations"

MAX_WAIT: Final = 900.0
"""Seconds to wait for a function of another process, whose own timeout is not known here: the
longest that a function on Lambda can have."""

_NOT_JSON: Final = "Could not parse request body into json"


class LambdaApi:
    """Answers Invoke in its modes RequestResponse, Event and DryRun."""

    def __init__(
        self,
        context: SourceContext,
        tasks: asyncio.TaskGroup,
        guard: ApiGuard,
        directory: FunctionDirectory,
        keepers: Keepers,
    ) -> None:
        self._context = context
        self._directory = directory
        self._guard = guard
        self._keepers = keepers
        self._idempotency: IdempotencyCache[FinishedCall] = IdempotencyCache(tasks, context.clock)

    async def invoke(self, request: Request, path: PathValues) -> BaseResponse:
        """Answer one Invoke."""
        return await self._answer_call(request, path, self._run)

    async def invoke_streamed(self, request: Request, path: PathValues) -> BaseResponse:
        """Answer one InvokeWithResponseStream: RequestResponse and DryRun."""
        return await self._answer_call(request, path, self._run_streamed)

    async def _answer_call(self, request: Request, path: PathValues, run: _Run) -> BaseResponse:
        request_id = new_id()
        try:
            check_spelling(request)
            identity = await self._admit(request, path["name"], request_id)
            name = read_function_name(request, path["name"])
            message = await self._build_message(request, name, request_id, identity)
            streamed = run == self._run_streamed
            durable = (
                None if streamed else find_durable(request, name, self._context, self._keepers)
            )
            if durable is not None and read_invocation_type(request) in (WAIT, "Event"):
                return await self._run_durable(request, durable, message, identity)
            run_it = partial(run, request, name, message, identity)
            return await self._answer(request, name, message, run_it, streamed=streamed)
        except LambdaError as error:
            self._name_limit(error, path["name"])
            return error.response(request_id)
        except (AccessDenied, PayloadTooLarge, StoreUnavailable) as error:
            return lambda_error_from(error, path["name"]).response(request_id)
        except Problem as problem:
            if problem.status == 503:  # noqa: PLR2004
                overload = Throttled(problem.detail, UNAVAILABLE_RETRY_SECONDS)
                return lambda_error_from(overload, path["name"]).response(request_id)
            unsupported = problem.status == 415  # noqa: PLR2004
            shape = "UnsupportedMediaTypeException" if unsupported else INVALID
            return LambdaError(shape, problem.detail).response(request_id)

    def _name_limit(self, error: LambdaError, text: str) -> None:
        """Say which limit refused a call, as far as the directory knows the function."""
        name, _ = parse_name(text) or (text, "")
        if error.shape == "TooManyRequestsException" and is_limited_in_mesh(self._directory, name):
            error.members["Reason"] = "ReservedFunctionConcurrentInvocationLimitExceeded"

    async def _admit(self, request: Request, name: str, request_id: str) -> Identity:
        scope: Scope = "send" if read_invocation_type(request) == "Event" else "invoke"
        try:
            return await self._guard.admit(
                request,
                scope,
                Action(scope, name, request_id),
                lambda: is_public(self._directory, name),
            )
        except AccessDenied as error:
            raise lambda_error_from(error, name) from error

    async def _build_message(
        self, request: Request, name: str, request_id: str, identity: Identity
    ) -> Message:
        return Message(
            await self._payload(request, self._context.functions.get(name)),
            request_id,
            self._context.clock.now(),
            read_content_type(request.headers),
            {
                **request.read_trace_headers(),
                **read_client_context(request),
                **read_message_headers(request.headers),
                **read_tenant(request),
            },
            principal=encode_identity(identity),
        )

    async def _answer(
        self,
        request: Request,
        name: str,
        message: Message,
        run: Callable[[], Awaitable[BaseResponse]],
        *,
        streamed: bool,
    ) -> BaseResponse:
        match read_invocation_type(request):
            case "RequestResponse":
                return await run()
            case "Event" if not streamed:
                return await self._send(name, message)
            case "DryRun":
                if name not in self._directory():
                    raise_not_found(
                        name, "; a dry run finds the functions that the control API lists"
                    )
                return BytesResponse(
                    204, headers={REQUEST_ID: message.id}, invocation_id=message.id
                )
            case other:
                raise LambdaError(
                    "InvalidParameterValueException",
                    f"There is no invocation type {other!r} here: use "
                    + (
                        "RequestResponse or DryRun"
                        if streamed
                        else "RequestResponse, Event or DryRun"
                    ),
                )

    async def _payload(self, request: Request, function: FunctionSpec | None) -> bytes:
        body = await read_body(request, _body_limit(self._context.settings, function))
        if body and not _is_parsed_later(request, function):
            _check_json(body, DEFAULT_MAX_NODES if function is None else function.limits.max_nodes)
        return body

    async def _send(self, name: str, message: Message) -> BaseResponse:
        try:
            await self._context.environment.transport.send(name, message, 0.0)
        except InvocationError as error:
            raise lambda_error_from(error, name) from error
        return BytesResponse(202, headers={REQUEST_ID: message.id}, invocation_id=message.id)

    async def _run_streamed(
        self, request: Request, name: str, message: Message, identity: Identity
    ) -> BaseResponse:
        message = self._with_deadline(request, name, message)
        tail = _open_tail(request)
        finished = await self._call(name, message, tail, wants_stream=True)
        self._raise_unless_run(name, message, finished.result.error)
        function = self._context.functions.get(name)
        timeout = None if function is None else function.limits.timeout
        shown = self._guard.shows_errors_to(identity)

        def complete(error: Failure | None, told: bytes) -> dict[str, Any]:
            seconds = self._context.clock.monotonic() - started
            log = None if tail is None else tail.read()
            ended = FinishedCall(message.id, Result(told, error=error), seconds, log)
            return describe_end(ended, timeout, shows_errors=shown)

        started = self._context.clock.monotonic() - finished.seconds
        return streamed_response(finished.result, _frame_of(function), message.id, complete)

    async def _run(
        self, request: Request, name: str, message: Message, identity: Identity
    ) -> BaseResponse:
        call = partial(
            self._call, name, self._with_deadline(request, name, message), _open_tail(request)
        )
        given_id = request.headers.get(CALL_ID)
        try:
            if given_id is None:
                finished = await call()
            else:
                finished = await self._idempotency.run_once(
                    (identity.principal, name, given_id, digest(message.body)),
                    partial(_keep_body, request.hold, call),
                )
        except Throttled as error:
            raise lambda_error_from(error, name) from error
        self._raise_unless_run(name, message, finished.result.error)
        function = self._context.functions.get(name)
        timeout = None if function is None else function.limits.timeout
        shown = self._guard.shows_errors_to(identity)
        return finished_response(finished, timeout, shows_errors=shown)

    async def _run_durable(
        self, request: Request, durable: Durable, message: Message, identity: Identity
    ) -> BaseResponse:
        """Begin an execution, and wait for its end if the caller does."""
        clock, started = self._context.clock, self._context.clock.monotonic()
        if message.body:
            _check_json(message.body, durable.spec.limits.max_nodes)
        execution = await begin(durable, request, message, clock)
        told = {ARN: execution_arn(execution)}
        if read_invocation_type(request) == "Event":
            headers = {REQUEST_ID: message.id, **told}
            return BytesResponse(202, headers=headers, invocation_id=message.id)
        asked = request.headers.get(TIMEOUT)
        seconds = MAX_WAIT if asked is None else min(read_seconds(asked), MAX_WAIT)
        result = await wait_for_end(durable, execution, clock, seconds)
        finished = FinishedCall(message.id, result, clock.monotonic() - started)
        shown = self._guard.shows_errors_to(identity)
        return finished_response(finished, None, shows_errors=shown, headers=told)

    def _raise_unless_run(self, name: str, message: Message, failure: Failure | None) -> None:
        """Raise LambdaError for a call that was not run."""
        if failure is None:
            return
        if was_not_run(failure, message.body):
            raise lambda_error_from(failure, name)
        if isinstance(failure, PayloadInvalid) and (why := find_syntax_error(failure)):
            raise LambdaError(INVALID, f"{_NOT_JSON}: {why}")

    def _with_deadline(self, request: Request, name: str, message: Message) -> Message:
        asked = request.headers.get(TIMEOUT)
        now = self._context.clock.monotonic()
        if asked is None:
            # A function of this process has its own timeout.
            here = name in self._context.functions
            return message if here else replace(message, deadline=now + MAX_WAIT)
        return replace(message, deadline=now + min(read_seconds(asked), MAX_WAIT))

    async def _call(
        self, name: str, message: Message, tail: LogTail | None, *, wants_stream: bool = False
    ) -> FinishedCall:
        clock = self._context.clock
        started = clock.monotonic()
        if name in self._context.functions:
            invocation = invocation_from(message, name, SYNC)
            if tail is not None or wants_stream:
                invocation = replace(invocation, log_tail=tail, wants_stream=wants_stream)
            result = await self._context.dispatch(invocation)
        else:
            result = await self._context.environment.transport.request(name, message)
        log = None if tail is None else tail.read()
        return FinishedCall(message.id, result, clock.monotonic() - started, log)


_Run: TypeAlias = Callable[[Request, str, Message, Identity], Awaitable[BaseResponse]]


def _open_tail(request: Request) -> LogTail | None:
    """Return what takes the end of the log; None if the caller does not ask for it."""
    return LogTail() if request.headers.get("X-Amz-Log-Type") == "Tail" else None


def _frame_of(function: FunctionSpec | None) -> Callable[[bytes], bytes]:
    """Return what makes bytes of the items of a stream: values become lines of JSON."""
    if function is None or not function.schema.is_stream or function.schema.item_type is bytes:
        return bytes
    return _line


def _line(item: bytes) -> bytes:
    return item + b"\n"


def _body_limit(settings: Settings, function: FunctionSpec | None) -> BodyLimit:
    if function is None:
        return body_limit(settings)
    payload, limits = function.schema.payload, function.limits
    parsed = payload is None or not payload.raw
    return body_limit(settings, limits.max_payload, limits.max_nodes if parsed else None)


async def _keep_body(
    hold: BodyHold | None, call: Callable[[], Coroutine[Any, Any, FinishedCall]]
) -> FinishedCall:
    """Run a call that goes on when its request has ended: its payload stays in memory."""
    if hold is None:
        return await call()
    hold.keep()
    try:
        return await call()
    finally:
        hold.release()


def _is_parsed_later(request: Request, function: FunctionSpec | None) -> bool:
    """Whether the function itself finds out if the payload is JSON, while its caller waits."""
    if function is None:
        return read_invocation_type(request) == WAIT
    payload = function.schema.payload
    return payload is not None and (payload.raw or read_invocation_type(request) == WAIT)


def _check_json(body: bytes, max_nodes: int) -> None:
    """Raise LambdaError for what is not JSON, and PayloadTooLarge for what has too many values."""
    check_nodes(body, max_nodes, "max_nodes")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise LambdaError(INVALID, f"{_NOT_JSON}: {error}") from None
