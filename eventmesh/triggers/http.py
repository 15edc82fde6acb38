"""The trigger that binds a route to a function."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Literal, TypedDict

from eventmesh.engine.spec import FunctionSpec, SourceContext
from eventmesh.http.route import HttpRoute, Method
from eventmesh.model.access.authorizers import Auth, read_auth
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import Mode
from eventmesh.model.value import value


class RouteOptions(TypedDict, total=False):
    """The options of a route, all of which may be left out.

    In mode "sync", the default, the caller waits for the result, which is answered with `status`
    (200 unless given). In mode "async" the request is checked and stored, and the response is 202
    with the invocation's id and where to see what became of it. `summary`, `tags` and `problems`
    (the statuses of the `Problem`s that the function raises) go into /openapi.json.

    With `idempotent`, of requests with one Idempotency-Key and one caller, one is run, among all
    replicas, and all get its answer; "required" refuses requests without the header. It needs a
    store.

    `auth` says who may use the route: an `ApiKeys`, `Jwt`, `Authorizer` or `Anyone` of
    `eventmesh.auth`, or a list of them, of which any is enough; unless given, that of the service.
    """

    mode: Mode
    status: int
    summary: str
    tags: Sequence[str]
    problems: Sequence[int]
    auth: Auth | None
    idempotent: bool | Literal["required"]


@value
class HttpTrigger(HttpRoute):
    """Requests to a route fire the function."""

    @property
    def kind(self) -> str:
        return "http"

    def check(self, function: FunctionSpec) -> None:
        function.schema.http_binding(self.template)
        if self.idempotent and function.schema.is_stream:
            raise DeclarationError(
                f"on.{self.method.lower()}({self.path!r}): {function.full_name} yields its items, "
                "which are not kept: return a list, or leave idempotent= out"
            )

    @classmethod
    def source(
        cls,
        bound: Sequence[tuple[FunctionSpec, HttpTrigger]],  # noqa: ARG003  # the port's
        context: SourceContext,  # noqa: ARG003
    ) -> AbstractAsyncContextManager[None]:
        """Take in nothing: the host's HTTP server serves the routes of all its functions."""
        return nullcontext()


def declare_route(method: Method, path: str, options: RouteOptions) -> HttpTrigger:
    """The trigger of a route. Raises DeclarationError where it cannot be, with advice."""
    known = RouteOptions.__annotations__
    given: dict[str, Any] = dict(options)
    if unknown := next((name for name in given if name not in known), ""):
        raise DeclarationError(
            f"on.{method.lower()}({path!r}) has no option {unknown!r}: there are {', '.join(known)}"
        )
    for name in ("tags", "problems"):
        given[name] = tuple(given.get(name, ()))
    given["auth"] = read_auth(given.get("auth"), f"on.{method.lower()}({path!r})")
    return HttpTrigger(method, path, **given)
