"""An HTTP route: a method, a path, and how its requests are answered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal, TypeAlias, get_args

from eventmesh.http.protocol import CONTROL, LAMBDA, LAMBDA_STREAMS, is_reserved
from eventmesh.model.access.authorizers import ANYONE, Alternatives
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import ASYNC, SYNC, Mode, RouteTemplate
from eventmesh.model.value import value

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "ANY"]

ANY_METHOD: Final = "ANY"
"""Each of `METHODS` that no other route of the same path has."""

METHODS: Final[tuple[Method, ...]] = ("GET", "POST", "PUT", "PATCH", "DELETE")

OK: Final = 200

_REST: Final = ":path"
_PARAMETER: Final = re.compile(rf"\{{([A-Za-z_][A-Za-z0-9_]*)({_REST})?\}}")
_LITERAL: Final = re.compile(r"[^\s{}?#%\\\x00-\x1f\x7f]*")
_IDEMPOTENCY: Final[Mapping[bool | str, Literal["", "optional", "required"]]] = {
    False: "",
    True: "optional",
    "required": "required",
}
_WITH_BODY: Final = ("POST", "PUT", "PATCH", ANY_METHOD)
"""A body of GET or DELETE has no meaning (RFC 9110, sections 9.3.1 and 9.3.5)."""


@value
class HttpRoute:
    """One method of one path, such as `/orders/{order_id}`.

    A name in braces stands for one whole segment of the path, which is not empty; the last one may
    be `{name:path}`, which stands for the rest of the path, also an empty one. In mode "sync"
    the caller waits for the result, which is sent with `status`; in mode "async" the invocation is
    stored and the response is 202. `problems` are the statuses of the problems that the function
    raises. They and `summary` and `tags` are for the documentation. `auth` says who may use the
    route; with None its service does. Where it is `idempotent`, requests with one Idempotency-Key
    are run once; "required" refuses those without.
    """

    method: Method
    path: str
    mode: Mode = SYNC
    status: int = OK
    summary: str = ""
    tags: tuple[str, ...] = ()
    problems: tuple[int, ...] = ()
    auth: Alternatives | None = None
    idempotent: bool | Literal["required"] = False

    def __post_init__(self) -> None:
        for why in self._problems():
            raise DeclarationError(f"on.{self.method.lower()}({self.path!r}): {why}")

    def describe(self) -> str:
        return f"{self.method} {self.path}" + (" (async)" if self.mode == ASYNC else "")

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods whose requests it answers."""
        return METHODS if self.method == ANY_METHOD else (self.method,)

    @property
    def documented_path(self) -> str:
        """The path as a template of OpenAPI, which has no name for the rest of a path."""
        return self.path.replace(_REST + "}", "}")

    @property
    def segments(self) -> tuple[str, ...]:
        return tuple(self.path.split("/")[1:])

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the path, in their order there."""
        found = (path_parameter(segment) for segment in self.segments)
        return tuple(name for name in found if name)

    @property
    def template(self) -> RouteTemplate:
        """The part of the route that binds the parameters of its requests."""
        key = f"{self.method} {self.path}"
        return RouteTemplate(key, self.names, self.has_body, _IDEMPOTENCY[self.idempotent])

    @property
    def has_body(self) -> bool:
        """Whether a request's body is read."""
        return self.method in _WITH_BODY

    def _problems(self) -> Iterator[str]:
        """Say what is wrong with the route, with advice."""
        if is_reserved(self.path):
            apis = f"{CONTROL}, {LAMBDA} and {LAMBDA_STREAMS}"
            yield f"{apis} belong to the APIs: choose another path"
        if not self.path.startswith("/"):
            yield "a path begins with '/'"
        yield from self._segment_problems()
        if self.mode not in get_args(Mode):
            yield f"there is no mode {self.mode!r}: choose 'sync' or 'async'"
        if not OK <= self.status <= 299:  # noqa: PLR2004  # RFC 9110, section 15.3
            yield f"status={self.status} is not a success: choose 200 to 299, or return a Response"
        if self.mode == ASYNC and self.status != OK:
            yield "mode='async' always answers with 202: leave the status out"
        yield from self._idempotency_problems()
        if not all(400 <= status <= 599 for status in self.problems):  # noqa: PLR2004
            yield f"problems={self.problems}: a problem has a status from 400 to 599"

    def _segment_problems(self) -> Iterator[str]:
        for segment in self.segments:
            if not path_parameter(segment) and not _LITERAL.fullmatch(segment):
                yield (
                    f"{segment!r} cannot be a part of a path: write text as people read it (no "
                    "'%', '?', '#' or spaces) or one name in braces, such as {order_id}"
                )
        if any(is_rest(segment) for segment in self.segments[:-1]):
            yield "{…:path} stands for the rest of the path: write nothing after it"
        if len(set(self.names)) != len(self.names):
            yield "a name is used twice in the path: rename one of them"

    def _idempotency_problems(self) -> Iterator[str]:
        if self.idempotent not in _IDEMPOTENCY:
            yield f"idempotent={self.idempotent!r}: write True, 'required', or leave it out"
        elif self.idempotent and self.method == ANY_METHOD:
            yield "idempotent= is for one method: declare the route of that method beside this one"
        elif self.idempotent and self.method == "GET":
            yield "a GET changes nothing, and can be repeated: leave idempotent= out"
        elif self.idempotent and self.mode == ASYNC:
            yield (
                "idempotent= is for routes that answer with the result: with mode='async', give "
                "the function idempotency_key='…', a field of its payload"
            )


def path_parameter(segment: str) -> str:
    """The name that a segment of a path stands for; empty where it stands for itself."""
    found = _PARAMETER.fullmatch(segment)
    return found[1] if found else ""


def is_rest(segment: str) -> bool:
    """Whether a segment of a declared path stands for the rest of the path."""
    found = _PARAMETER.fullmatch(segment)
    return found is not None and found[2] is not None


def find_alternatives(route: HttpRoute, of_service: Alternatives | None) -> Alternatives | None:
    """Return who may use a route, if the service says what it does; None for everyone."""
    declared = of_service if route.auth is None else route.auth
    return None if declared == ANYONE else declared
