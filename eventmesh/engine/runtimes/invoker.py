"""One run of a Python function: bind the arguments, call the handler, encode what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache, partial
from typing import Any, TypeAlias

from eventmesh.abc import Handler
from eventmesh.engine.binding import Binder, Signature
from eventmesh.engine.codecs.identity import decode_identity
from eventmesh.engine.codecs.json import encode
from eventmesh.engine.function import AnyFunction
from eventmesh.engine.runtimes.batches import build_batch_run
from eventmesh.engine.runtimes.failures import failure_from
from eventmesh.engine.runtimes.streams import build_stream_run
from eventmesh.engine.spec import Environment
from eventmesh.model.errors import DeclarationError, FunctionError, PayloadInvalid, PayloadTooLarge
from eventmesh.model.invocation import SYNC, Invocation, RouteTemplate
from eventmesh.model.message import BYTES, JSON
from eventmesh.model.result import HANDLER_ERRORS, Failure, Response, Result, make_result

Arguments: TypeAlias = dict[str, Any]

Call: TypeAlias = Callable[..., Awaitable[Any]]
"""Calls a handler that returns, with keyword arguments, where its runtime runs it."""

Iterate: TypeAlias = Callable[..., AsyncIterator[Any]]
"""The same for a handler that yields."""


def build_handler(
    function: AnyFunction, environment: Environment, call: Call, iterate: Iterate | None = None
) -> Handler:
    """Build the innermost handler of a function.

    `call` is used where its own handler returns, and `iterate` where that yields. Raises
    DeclarationError for one that yields, without `iterate`.
    """
    signature, spec = function.signature, function.spec
    if signature.is_stream and iterate is None:
        raise DeclarationError(
            f"{spec.full_name} yields its items, which runtime={spec.runtime!r} cannot run: return "
            "a list, or leave the option out"
        )
    items_from = iterate if signature.is_stream else None
    limit = spec.limits.max_payload
    bind = signature.build_binder()
    routes = _RouteBinders(signature, spec.routes)
    inject = _build_injector(function, environment)
    to_result = _build_result_encoder(signature)
    run_stream = build_stream_run(signature, limit, keep=spec.on_success is not None)
    # Built when the first batch arrives: few functions take batches.
    batch_run = cache(partial(build_batch_run, signature, inject, call))

    async def handle(invocation: Invocation) -> Result:
        if len(invocation.payload) > limit:
            return Result(b"", error=PayloadTooLarge(len(invocation.payload), limit))
        if invocation.batch is not None:
            return await batch_run()(invocation, invocation.batch)
        http = invocation.http
        try:
            arguments = bind(invocation) if http is None else routes.get(http.route)(invocation)
        except HANDLER_ERRORS as error:
            return Result(b"", error=_find_refusal(error))
        inject(arguments, invocation)
        try:
            if items_from is None:
                result = to_result(await call(**arguments))
            else:
                result = await run_stream(items_from(**arguments), invocation)
        except HANDLER_ERRORS as error:
            return Result(b"", error=failure_from(error))
        # The limit is for replies. A response goes to its client as it is (`RemoteRoutes` checks
        # one that goes to a gateway), and what an asynchronous run returns is at most part of a
        # record, for which the broker's own limit counts.
        if len(result.body) > limit and invocation.mode == SYNC and http is None:
            return Result(b"", error=PayloadTooLarge(len(result.body), limit))
        return result

    return handle


def _find_refusal(error: BaseException) -> Failure:
    """Return why a payload was not bound."""
    if isinstance(error, (PayloadInvalid, PayloadTooLarge)):
        return error
    return failure_from(error)  # A bug in a validator of the user's own.


class _RouteBinders:
    """The binder of each route of a function."""

    __slots__ = ("_binders", "_signature")

    def __init__(self, signature: Signature, routes: tuple[RouteTemplate, ...]) -> None:
        self._signature = signature
        self._binders = {route.key: signature.build_http_binder(route) for route in routes}

    def get(self, route: RouteTemplate) -> Binder:
        binder = self._binders.get(route.key)
        if binder is None:  # Of a trigger that does not say its route when it is declared.
            binder = self._signature.build_http_binder(route)
            self._binders[route.key] = binder
        return binder


def _build_injector(
    function: AnyFunction, environment: Environment
) -> Callable[[Arguments, Invocation], None]:
    """Build what adds the context and the resources to arguments from the payload."""
    name, identity = function.signature.context, function.signature.identity
    available = environment.resources.get(function.spec.service, {})
    resources = {
        parameter: available[kind] for parameter, kind in function.signature.resources.items()
    }
    transport, clock = environment.transport, environment.clock
    make_context = environment.make_context
    outgoing = function.spec.outgoing
    store = environment.stores.get(function.spec.service, environment.without_store)

    def inject(arguments: Arguments, invocation: Invocation) -> None:
        if resources:
            arguments.update(resources)
        if name is not None:
            arguments[name] = make_context(invocation, transport, clock, outgoing, store)
        if identity is not None:
            arguments[identity] = decode_identity(invocation.principal)

    return inject


def _build_result_encoder(signature: Signature) -> Callable[[Any], Result]:
    encode_value = signature.encode
    content_type = BYTES if signature.result_type is bytes else JSON

    def to_result(returned: Any) -> Result:
        if isinstance(returned, Response):
            return _encode_response(returned)
        try:
            return make_result(body=encode_value(returned), content_type=content_type)
        except FunctionError as error:
            return Result(b"", error=error)

    return to_result


def _encode_response(response: Response) -> Result:
    named = {name.lower(): text for name, text in response.headers.items()}
    given = named.get("content-type")
    content_type = given if isinstance(given, str) else response.content_type
    content = response.content
    is_text = isinstance(content, str) and "json" not in content_type.lower()
    return Result(
        content.encode() if is_text else encode(content),
        content_type=content_type,
        status=response.status,
        headers=response.headers,
    )
