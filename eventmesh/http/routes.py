"""All that a process serves over HTTP: the routes of its functions, the APIs and the docs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.api.aws_lambda.invoke import INVOKE, LambdaApi
from eventmesh.http.api.control import ControlApi
from eventmesh.http.api.directory import FunctionDirectory, list_functions
from eventmesh.http.auth.same_origin import SameOriginCheck
from eventmesh.http.endpoint import build_endpoint
from eventmesh.http.landing_page import Links, landing_route
from eventmesh.http.openapi.document import build_document
from eventmesh.http.openapi.swagger_ui import docs_routes
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.cross_origin import with_cors
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse
from eventmesh.http.server.routing import BuiltinRoute, Endpoint, PathValues, Router
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
    context: SourceContext, tasks: asyncio.TaskGroup, landing_links: Links | None = None
) -> Router[Endpoint]:
    """The routes of the functions of this process, and the built-in ones.

    With `landing_links` there is a landing page at `/`, unless the docs are switched off. Raises
    DeclarationError where two functions declare the same route.
    """
    router: Router[Endpoint] = Router()
    bound = function_routes(context.functions)
    for function, route in bound:
        endpoint = with_cors(build_endpoint(function, route, context), function.cors, route.method)
        router.add(route.method, route.path, endpoint, function.full_name)
    _warn_of_limits(bound, context.settings)
    apis = build_apis(context, tasks, partial(list_functions, context.functions))
    document = partial(build_document, bound, api=context.settings.api)
    add_builtin_routes(router, apis, context, document)
    if landing_links is not None and context.settings.docs:
        landing = landing_route(context.functions, landing_links)
        router.add_missing(landing.method, landing.path, landing.endpoint, OWNER)
    return router


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
    context: SourceContext, tasks: asyncio.TaskGroup, directory: FunctionDirectory
) -> Sequence[BuiltinRoute]:
    """The control API and direct invocation; none where the settings switch them off."""
    if not context.settings.api:
        return ()
    same_origin = SameOriginCheck(context.settings.http_host)
    direct = LambdaApi(context, tasks, same_origin, directory)
    control = ControlApi(context, same_origin, directory)
    return (*control.routes(), BuiltinRoute("POST", INVOKE, direct.invoke))


def add_builtin_routes(
    router: Router[Endpoint],
    apis: Iterable[BuiltinRoute],
    context: SourceContext,
    document: Callable[[], dict[str, Any]],
) -> None:
    """Add the built-in routes. A function's route at the same place is left as it is."""
    docs = docs_routes(document) if context.settings.docs else ()
    for route in docs:
        router.add_missing(route.method, route.path, route.endpoint, OWNER)
    for route in apis:
        router.add_missing(route.method, route.path, _uncached(route.endpoint), OWNER)


def _uncached(endpoint: Endpoint) -> Endpoint:
    """Forbid caches to keep the answers: they hold what only their caller may see."""

    async def answer(request: Request, path: PathValues) -> BaseResponse:
        request.response_headers += b"Cache-Control: no-store\r\n"
        return await endpoint(request, path)

    return answer
