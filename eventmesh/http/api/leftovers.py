"""What is left of functions that no process has, in the control API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from pydantic import BaseModel, ConfigDict, ValidationError

from eventmesh.engine.spec import SourceContext
from eventmesh.engine.upkeep.leftovers import Fate, ProcessLeftovers
from eventmesh.http.api.executions import ApiRoute
from eventmesh.http.protocol import LEFTOVERS
from eventmesh.http.server.body import BodyLimit, read_body
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BytesResponse, json_response
from eventmesh.http.server.routing import PathValues
from eventmesh.model.errors import DeclarationError, Problem


class _Order(BaseModel):
    """See `Fate`. What is misspelt is refused: it would otherwise be kept, or dropped."""

    model_config = ConfigDict(extra="forbid", strict=True)

    move_to: str = ""
    drop: bool = False
    dead_letters: bool = False


class LeftoversApi:
    """Answers requests about what is left."""

    def __init__(self, context: SourceContext, limit: BodyLimit) -> None:
        self._found = context.leftovers
        self._limit = limit

    def routes(self) -> Sequence[ApiRoute]:
        """The routes, without what guards them."""
        return (
            ("GET", LEFTOVERS, "read", "list what is left", self._list),
            ("GET", f"{LEFTOVERS}/{{name}}", "read", "show what is left of", self._list),
            ("POST", f"{LEFTOVERS}/{{name}}/remove", "manage", "prune", self._remove),
        )

    def _leftovers(self) -> ProcessLeftovers:
        if self._found is None:
            raise DeclarationError(
                "the embedded broker lives inside this process: others leave nothing at it"
            )
        return self._found

    async def _list(self, _: Request, path: PathValues, __: str) -> BytesResponse:
        found = await self._leftovers().find(path.get("name", ""))
        return json_response(200, {"leftovers": [asdict(remains) for remains in found]})

    async def _remove(self, request: Request, path: PathValues, _: str) -> BytesResponse:
        body = await read_body(request, self._limit)
        try:
            order = _Order.model_validate_json(body) if body else _Order()
        except ValidationError:
            raise Problem(
                422,
                'the request cannot be read: send {"move_to": "service.function"} or '
                '{"drop": true}, with "dead_letters": true to drop those, too; or no body',
            ) from None
        if order.move_to and order.drop:
            raise Problem(422, "move_to and drop exclude each other: choose one")
        fate = Fate(order.move_to, order.drop, order.dead_letters)
        return json_response(200, asdict(await self._leftovers().remove(path["name"], fate)))
