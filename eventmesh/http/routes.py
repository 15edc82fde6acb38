"""All that a process serves over HTTP: the routes of its functions, the APIs and the docs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.api.aws_lambda.durable.api import DurableApi
from eventmesh.http.api.aws_lambda.durable.keepers import Keepers
from eventmesh.http.api.aws_lambda.invoke import INVOKE, LambdaApi
from eventmesh.http.api.aws_lambda.streamed import INVOKE_STREAMED
from eventmesh.http.api.control import ControlApi
from eventmesh.http.api.directory import FunctionDirectory, list_functions
from eventmesh.http.api.guard import ApiGuard
from eventmesh.http.auth.build import (
    build_authenticator,
    serves_api,
    serves_api_beside,
    serves_docs,
)
from eventmesh.http.endpoint import build_endpoint
from eventmesh.http.landing_page import Links, landing_route
from eventmesh.http.limits.limits import HttpLimits
from eventmesh.http.openapi.document import build_document
from eventmesh.http.openapi.swagger_ui import docs_routes
from eventmesh.http.route import ANY_METHOD, HttpRoute
from eventmesh.http.server.cross_origin import with_cors
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues, Router
from eventmesh.http.server.server import HttpServer, listen
from eventmesh.http.server.sockets import api_settings
from eventmesh.model.access.cors import Cors
from eventmesh.model.settings import Settings, variable

OWNER: Final = "eventmesh"
"""The owner of the built-in routes."""

_log: Final = logging.getLogger(__name__)


def function_routes(
    functions: Mapping[str, FunctionSpec],
) -> Sequence[tuple[FunctionSpec, HttpRoute]]:
    """The routes of functions, each with the function that it belongs to."""
    return [
        (function, trigger)
        for function in functions.values()
        for trigger in function.triggers
        if isinstance(trigger, HttpRoute)
    ]


def build_router(
    context: SourceContext, apis: Iterable[BuiltinRoute], landing_links: Links | None = None
) -> Router[Endpoint]:
    """The routes of the functions of this process, those of the `apis`, and the docs.

    With `landing_links` there is a landing page at `/`, unless the docs are switched off. Raises
    DeclarationError where two functions declare the same route.
    """
    router: Router[Endpoint] = Router()
    bound = function_routes(context.functions)
    for function, route in bound:
        endpoint = build_endpoint(function, route, context)
        add_route(router, route, endpoint, function.full_name, function.cors)
    _warn_of_limits(bound, context.settings)
    document = partial(build_document, bound, api=serves_api_beside(context.settings))
    add_builtin_routes(router, apis, context, document)
    if landing_links is not None and serves_docs(context.settings):
        landing = landing_route(context.functions, landing_links)
        # A function that answers the rest of all paths answers this one.
        if router.find(landing.method, landing.path) is None:
            router.add_missing(landing.method, landing.path, landing.endpoint, OWNER)
    return router


def add_route(
    router: Router[Endpoint], route: HttpRoute, endpoint: Endpoint, owner: str, cors: Cors | None
) -> None:
    """Add each method of a function's route. Raises DeclarationError where another one has it."""
    for method in route.methods:
        router.add(
            method,
            route.path,
            with_cors(endpoint, cors, method),
            owner,
            general=route.method == ANY_METHOD,
        )


def _warn_of_limits(bound: Sequence[tuple[FunctionSpec, HttpRoute]], settings: Settings) -> None:
    """Warn of functions whose `max_payload` no request can reach."""
    with_body = {function.full_name: function for function, route in bound if route.has_body}
    for name, function in with_body.items():
        max_payload = function.limits.max_payload
        if max_payload > settings.max_body:
            _log.warning(
                "%s: max_payload=%d is above %s=%d: larger requests get a 413 unless it is raised",
                name,
                max_payload,
                variable("max_body"),
                settings.max_body,
            )


def build_apis(
    context: SourceContext, tasks: asyncio.TaskGroup, directory: FunctionDirectory | None = None
) -> Sequence[BuiltinRoute]:
    """The control API and direct invocation; none where `serves_api` says so.

    Without a `directory` they know the functions of this process. Raises SettingsError.
    """
    if not serves_api(context.settings):
        return ()
    guard = ApiGuard(context.settings, build_authenticator(context.settings, context.clock, tasks))
    directory = directory or partial(list_functions, context.functions)
    keepers = Keepers(context)
    direct = LambdaApi(context, tasks, guard, directory, keepers)
    control = ControlApi(context, guard, directory)
    return (
        *control.routes(),
        *DurableApi(context, guard, keepers).routes(),
        BuiltinRoute("POST", INVOKE, direct.invoke),
        BuiltinRoute("POST", INVOKE_STREAMED, direct.invoke_streamed),
    )


def add_builtin_routes(
    router: Router[Endpoint],
    apis: Iterable[BuiltinRoute],
    context: SourceContext,
    document: Callable[[], dict[str, Any]],
) -> None:
    """Add the built-in routes. A function's route at the same place is left as it is."""
    docs = docs_routes(document) if serves_docs(context.settings) else ()
    for route in docs:
        router.add_missing(route.method, route.path, route.endpoint, OWNER)
    for route in apis:
        router.add_missing(route.method, route.path, _uncached(route.endpoint), OWNER)


@asynccontextmanager
async def listen_for_apis(
    context: SourceContext, apis: Sequence[BuiltinRoute], limits: HttpLimits
) -> AsyncGenerator[Sequence[BuiltinRoute]]:
    """Serve the APIs while entered, where they have a listener of their own.

    Gives those that are left for the other listener. Raises SettingsError where the address cannot
    be listened on.
    """
    own = api_settings(context.settings)
    if own is None or not apis:
        yield apis
        return
    router: Router[Endpoint] = Router()
    for route in apis:
        router.add(route.method, route.path, _uncached(route.endpoint), OWNER)
    async with listen(HttpServer(router, context.clock, own, limits), own) as url:
        context.announce("api", url)
        yield ()


def _uncached(endpoint: Endpoint) -> Endpoint:
    """Forbid caches to keep the answers: they hold what only their caller may see."""

    async def answer(request: Request, path: PathValues) -> BaseResponse:
        request.response_headers += b"Cache-Control: no-store\r\n"
        return await endpoint(request, path)

    return answer
