"""The trigger that binds a route to a function."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from eventmesh.engine.function import AnyFunction, SourceContext
from eventmesh.http.route import HttpRoute
from eventmesh.model.value import value


@value
class HttpTrigger(HttpRoute):
    """Requests to a route fire the function."""

    @property
    def kind(self) -> str:
        return "http"

    def check(self, function: AnyFunction) -> None:
        function.signature.http_binding(self.names, has_body=self.has_body)

    @classmethod
    def source(
        cls,
        bound: Sequence[tuple[AnyFunction, HttpTrigger]],  # noqa: ARG003  # the port's
        runtime: SourceContext,  # noqa: ARG003
    ) -> AbstractAsyncContextManager[None]:
        """Take in nothing: the host's HTTP server serves the routes of all its functions."""
        return nullcontext()
