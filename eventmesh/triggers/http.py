"""The trigger that binds a route to a function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from eventmesh.engine.function import AnyFunction, SourceContext
from eventmesh.http.route import HttpRoute
from eventmesh.model.value import value


@value
class HttpTrigger(HttpRoute):
    """Requests to a route fire the function."""

    kind: ClassVar[str] = "http"

    def check(self, function: AnyFunction) -> None:
        function.signature.http_binding(self.names, has_body=self.has_body)

    @classmethod
    @asynccontextmanager
    async def source(
        cls, bound: Sequence[tuple[AnyFunction, HttpTrigger]], runtime: SourceContext
    ) -> AsyncGenerator[None]:
        """Listen at the address of the settings, and announce it as "http".

        Also with no route there are the control API and the documentation, unless the settings
        say otherwise. Raises SettingsError where the address cannot be listened on, and
        DeclarationError where two functions want the same route.
        """
        # Only a process that listens pays for loading an HTTP server.
        from eventmesh.http.server.server import serving  # noqa: PLC0415

        async with serving(bound, runtime):
            yield
