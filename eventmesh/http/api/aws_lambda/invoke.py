"""Invocation by name in the form of AWS Lambda's Invoke API.

`boto3.client("lambda", endpoint_url=…)` and `aws lambda invoke --endpoint-url …` work with it as
they are. `ApiGuard` says who may use it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import Any, Final, NoReturn

import orjson

from eventmesh.engine.codecs.envelope import invocation_from
from eventmesh.engine.codecs.identity import encode_identity
from eventmesh.engine.codecs.json_bounds import check_nodes, find_syntax_error
from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.api.aws_lambda.idempotency import IdempotencyCache
from eventmesh.http.api.aws_lambda.names import LATEST, arn, parse_name
from eventmesh.http.api.aws_lambda.responses import (
    REQUEST_ID,
    FinishedCall,
    LambdaError,
    finished_response,
    lambda_error_from,
    was_not_run,
)
from eventmesh.http.api.directory import FunctionDirectory, is_public
from eventmesh.http.api.guard import Action, ApiGuard, check_spelling
from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.http.limits.bodies import BodyHold
from eventmesh.http.protocol import CALL_ID, LAMBDA, TIMEOUT
from eventmesh.http.server.body import BodyLimit, body_limit, read_body
from eventmesh.http.server.problems import UNAVAILABLE_RETRY_SECONDS
from eventmesh.http.server.request import (
    Request,
    parse_query,
    read_content_type,
    read_message_headers,
)
from eventmesh.http.server.response import BytesResponse
from eventmesh.http.server.routing import PathValues
from eventmesh.model.access.identity import Identity, Scope
from eventmesh.model.errors import (
    AccessDenied,
    DeclarationError,
    FunctionNotFound,
    InvocationError,
    PayloadInvalid,
    PayloadTooLarge,
    Problem,
    Throttled,
)
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import SYNC
from eventmesh.model.limits import DEFAULT_MAX_NODES
from eventmesh.model.message import Message
from eventmesh.model.settings import Settings
from eventmesh.model.topology import check_function

INVOKE: Final = f"{LAMBDA}/{{name}}/invocations"

MAX_WAIT: Final = 900.0
"""Seconds to wait for a function of another process, whose own timeout is not known here: the
longest that a function on Lambda can have."""

MAX_CLIENT_CONTEXT: Final = 3583
"""Characters of X-Amz-Client-Context."""

_INVALID: Final = "InvalidRequestContentException"
_NOT_JSON: Final = "Could not parse request body into json"
_WAIT: Final = "RequestResponse"


class LambdaApi:
    """Answers Invoke in its modes RequestResponse, Event and DryRun."""

    def __init__(
        self,
        context: SourceContext,
        tasks: asyncio.TaskGroup,
        guard: ApiGuard,
        directory: FunctionDirectory,
    ) -> None:
        self._context = context
        self._directory = directory
        self._guard = guard
        self._idempotency: IdempotencyCache[FinishedCall] = IdempotencyCache(tasks, context.clock)

    async def invoke(self, request: Request, path: PathValues) -> BytesResponse:
        """Answer one Invoke."""
        request_id = new_id()
        try:
            check_spelling(request)
            identity = await self._admit(request, path["name"], request_id)
            name = _function_name(request, path["name"])
            return await self._answer(request, name, request_id, identity)
        except LambdaError as error:
            return error.response(request_id)
        except PayloadTooLarge as error:
            return lambda_error_from(error, path["name"]).response(request_id)
        except Problem as problem:
            if problem.status == 503:  # noqa: PLR2004
                overload = Throttled(problem.detail, UNAVAILABLE_RETRY_SECONDS)
                return lambda_error_from(overload, path["name"]).response(request_id)
            unsupported = problem.status == 415  # noqa: PLR2004
            shape = "UnsupportedMediaTypeException" if unsupported else _INVALID
            return LambdaError(shape, problem.detail).response(request_id)

    async def _admit(self, request: Request, name: str, request_id: str) -> Identity:
        scope: Scope = "send" if _invocation_type(request) == "Event" else "invoke"
        try:
            return await self._guard.admit(
                request,
                scope,
                Action(scope, name, request_id),
                lambda: is_public(self._directory, name),
            )
        except AccessDenied as error:
            raise lambda_error_from(error, name) from error

    async def _answer(
        self, request: Request, name: str, request_id: str, identity: Identity
    ) -> BytesResponse:
        function = self._context.functions.get(name)
        message = Message(
            await self._payload(request, function),
            request_id,
            self._context.clock.now(),
            read_content_type(request.headers),
            {
                **request.trace_headers,
                **_client_context(request),
                **read_message_headers(request.headers),
            },
            principal=encode_identity(identity),
        )
        match _invocation_type(request):
            case "RequestResponse":
                return await self._run(request, name, message, identity)
            case "Event":
                return await self._send(name, message)
            case "DryRun":
                if name not in self._directory():
                    _not_found(name, "; a dry run finds the functions that the control API lists")
                return BytesResponse(
                    204, headers={REQUEST_ID: request_id}, invocation_id=request_id
                )
            case other:
                raise LambdaError(
                    "InvalidParameterValueException",
                    f"There is no invocation type {other!r}: use RequestResponse, Event or DryRun",
                )

    async def _payload(self, request: Request, function: FunctionSpec | None) -> bytes:
        body = await read_body(request, _body_limit(self._context.settings, function))
        if body and not _is_parsed_later(request, function):
            _check_json(body, DEFAULT_MAX_NODES if function is None else function.limits.max_nodes)
        return body

    async def _send(self, name: str, message: Message) -> BytesResponse:
        try:
            await self._context.environment.transport.send(name, message, 0.0)
        except InvocationError as error:
            raise lambda_error_from(error, name) from error
        return BytesResponse(202, headers={REQUEST_ID: message.id}, invocation_id=message.id)

    async def _run(
        self, request: Request, name: str, message: Message, identity: Identity
    ) -> BytesResponse:
        call = partial(self._call, name, self._with_deadline(request, name, message))
        given_id = request.headers.get(CALL_ID)
        try:
            if given_id is None:
                finished = await call()
            else:
                finished = await self._idempotency.run_once(
                    (identity.principal, name, given_id, _digest(message.body)),
                    partial(_keep_body, request.hold, call),
                )
        except Throttled as error:
            raise lambda_error_from(error, name) from error
        failure = finished.result.error
        if failure is not None:
            if was_not_run(failure, message.body):
                raise lambda_error_from(failure, name)
            if isinstance(failure, PayloadInvalid) and (why := find_syntax_error(failure)):
                raise LambdaError(_INVALID, f"{_NOT_JSON}: {why}")
        function = self._context.functions.get(name)
        timeout = None if function is None else function.limits.timeout
        tail = request.headers.get("X-Amz-Log-Type") == "Tail"
        shown = self._guard.shows_errors_to(identity)
        return finished_response(finished, timeout, tail=tail, shows_errors=shown)

    def _with_deadline(self, request: Request, name: str, message: Message) -> Message:
        asked = request.headers.get(TIMEOUT)
        now = self._context.clock.monotonic()
        if asked is None:
            # A function of this process has its own timeout.
            here = name in self._context.functions
            return message if here else replace(message, deadline=now + MAX_WAIT)
        return replace(message, deadline=now + min(_seconds(asked), MAX_WAIT))

    async def _call(self, name: str, message: Message) -> FinishedCall:
        clock = self._context.clock
        started = clock.monotonic()
        if name in self._context.functions:
            result = await self._context.dispatch(invocation_from(message, name, SYNC))
        else:
            result = await self._context.environment.transport.request(name, message)
        return FinishedCall(message.id, result, clock.monotonic() - started)


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
        return _invocation_type(request) == _WAIT
    payload = function.schema.payload
    return payload is not None and (payload.raw or _invocation_type(request) == _WAIT)


def _invocation_type(request: Request) -> str:
    return request.headers.get("X-Amz-Invocation-Type", _WAIT)


def _check_json(body: bytes, max_nodes: int) -> None:
    """Raise LambdaError for what is not JSON, and PayloadTooLarge for what has too many values."""
    check_nodes(body, max_nodes, "max_nodes")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise LambdaError(_INVALID, f"{_NOT_JSON}: {error}") from None


def _function_name(request: Request, text: str) -> str:
    """Read the name "service.function" from a request. Raises LambdaError."""
    parsed = parse_name(text)
    if parsed is None:
        raise LambdaError(
            "InvalidParameterValueException",
            f"{text!r} is not a function name",
            FunctionNotFound(text),
        )
    name, qualifier = parsed
    for given in (qualifier, *parse_query(request.target).get("Qualifier", ())):
        if given not in ("", LATEST):
            _not_found(f"{name}:{given}", f"; a function has one version, {LATEST}")
    try:
        return check_function(name)
    except DeclarationError:
        _not_found(name, "; a function name is 'service.function'")


def _not_found(name: str, advice: str) -> NoReturn:
    raise LambdaError(
        "ResourceNotFoundException",
        f"Function not found: {arn(name)}{advice}",
        FunctionNotFound(name),
    )


def _client_context(request: Request) -> Mapping[str, str]:
    """Read the member `custom` of a client's X-Amz-Client-Context. Raises LambdaError."""
    given = request.headers.get("X-Amz-Client-Context")
    if given is None:
        return {}
    try:
        context: Any = orjson.loads(base64.b64decode(given[:MAX_CLIENT_CONTEXT], validate=True))
        custom: Mapping[str, Any] = context.get("custom") or {}
        headers = {name: str(text) for name, text in custom.items()}
    except (binascii.Error, ValueError, AttributeError):
        raise LambdaError(
            _INVALID,
            f"Client context must be a Base64-encoded JSON object of {MAX_CLIENT_CONTEXT} "
            "characters at most",
        ) from None
    return accept_message_headers(headers)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        raise LambdaError(
            "InvalidParameterValueException", f"{TIMEOUT}: {text!r} is not a number of seconds"
        )
    return seconds


def _digest(body: bytes) -> str:
    """Tell payloads apart: one id with another payload is another call."""
    return sha256(body).hexdigest()
