"""All that is answered: the routes of functions, and beside them our own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from eventmesh.engine.function import AnyFunction, SourceContext, function_info
from eventmesh.http.api.aws_lambda.invoke import INVOKE, LambdaApi
from eventmesh.http.api.control import Control
from eventmesh.http.auth.same_origin import Guard
from eventmesh.http.endpoint import Endpoint, Known, endpoint_of
from eventmesh.http.openapi.document import document_of
from eventmesh.http.openapi.swagger_ui import docs_routes
from eventmesh.http.route import HttpRoute
from eventmesh.http.server.routing import Router

Own: TypeAlias = tuple[str, str, Endpoint]
"""A method, a path, and what answers there: a route of ours."""


def router_of(
    bound: Sequence[tuple[AnyFunction, HttpRoute]], runtime: SourceContext, tasks: asyncio.TaskGroup
) -> Router[Endpoint]:
    """The routes of these functions, and our own.

    Raises DeclarationError where two functions want the same route.
    """
    router: Router[Endpoint] = Router()
    for function, route in bound:
        endpoint = endpoint_of(function, route, runtime)
        router.add(route.method, route.path, endpoint, function.full_name)
    functions = runtime.functions.values()
    apis = apis_of(runtime, tasks, lambda: {one.full_name: function_info(one) for one in functions})
    add_own(router, apis, runtime, partial(document_of, bound, api=runtime.settings.api))
    return router


def apis_of(runtime: SourceContext, tasks: asyncio.TaskGroup, known: Known) -> Sequence[Own]:
    """The control API and direct invocation; none where the settings do not want them."""
    if not runtime.settings.api:
        return ()
    guard = Guard(runtime.settings.http_host)
    direct = LambdaApi(runtime, tasks, guard, known)
    return (*Control(runtime, guard, known).routes(), ("POST", INVOKE, direct.invoke))


def add_own(
    router: Router[Endpoint],
    apis: Iterable[Own],
    runtime: SourceContext,
    document: Callable[[], dict[str, Any]],
) -> None:
    """Add our own routes. A function's route at the same place stays in theirs."""
    docs = docs_routes(document) if runtime.settings.docs else ()
    for method, path, answer in (*docs, *apis):
        router.add_missing(method, path, answer, "eventmesh")
