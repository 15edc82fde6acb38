"""All that is answered: the routes of functions, and beside them our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from eventmesh.engine.function import AnyFunction, SourceContext, function_info
from eventmesh.http.api.aws_lambda.invoke import INVOKE, LambdaApi
from eventmesh.http.api.control import ControlApi
from eventmesh.http.auth.same_origin import SameOriginCheck
from eventmesh.http.endpoint import Endpoint, FunctionDirectory, build_endpoint
from eventmesh.http.openapi.document import build_document
from eventmesh.http.openapi.swagger_ui import docs_routes
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.routing import Router

BuiltinRoute: TypeAlias = tuple[str, str, Endpoint]
"""A method, a path, and what answers there: a route of ours."""


def build_router(
    bound: Sequence[tuple[AnyFunction, HttpRoute]], runtime: SourceContext, tasks: asyncio.TaskGroup
) -> Router[Endpoint]:
    """The routes of these functions, and our own.

    Raises DeclarationError where two functions want the same route.
    """
    router: Router[Endpoint] = Router()
    for function, route in bound:
        endpoint = build_endpoint(function, route, runtime)
        router.add(route.method, route.path, endpoint, function.full_name)
    functions = runtime.functions.values()
    apis = build_apis(
        runtime, tasks, lambda: {one.full_name: function_info(one) for one in functions}
    )
    add_builtin_routes(
        router, apis, runtime, partial(build_document, bound, api=runtime.settings.api)
    )
    return router


def build_apis(
    runtime: SourceContext, tasks: asyncio.TaskGroup, directory: FunctionDirectory
) -> Sequence[BuiltinRoute]:
    """The control API and direct invocation; none where the settings do not want them."""
    if not runtime.settings.api:
        return ()
    same_origin = SameOriginCheck(runtime.settings.http_host)
    direct = LambdaApi(runtime, tasks, same_origin, directory)
    return (*ControlApi(runtime, same_origin, directory).routes(), ("POST", INVOKE, direct.invoke))


def add_builtin_routes(
    router: Router[Endpoint],
    apis: Iterable[BuiltinRoute],
    runtime: SourceContext,
    document: Callable[[], dict[str, Any]],
) -> None:
    """Add our own routes. A function's route at the same place stays in theirs."""
    docs = docs_routes(document) if runtime.settings.docs else ()
    for method, path, answer in (*docs, *apis):
        router.add_missing(method, path, answer, "eventmesh")
