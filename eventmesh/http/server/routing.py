"""Finds the endpoint of a method and a path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Final, Generic, NamedTuple, TypeAlias, TypeVar
from urllib.parse import unquote

from eventmesh.http.protocol import is_reserved
from eventmesh.http.route import is_rest, path_parameter
from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse
from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

PathValues: TypeAlias = Mapping[str, str]
"""The values that a path has for the names of its route."""

NO_VALUES: Final[PathValues] = {}

Endpoint: TypeAlias = Callable[[Request, PathValues], Awaitable[BaseResponse]]
"""Answers the requests to one route. May raise InvocationError or Problem."""


class BuiltinRoute(NamedTuple):
    """A route that belongs to no function: a part of an API or of the docs."""

    method: str
    path: str
    endpoint: Endpoint


EndpointT = TypeVar("EndpointT")


@value
class RouteTarget(Generic[EndpointT]):
    """The endpoint of one method of one path, and the function that owns it.

    A `general` one is a method of a route of all methods: a route of that method goes before it.
    """

    endpoint: EndpointT
    names: tuple[str, ...]
    owner: str
    general: bool = False


class Router(Generic[EndpointT]):
    """Routes as a tree of path segments: a literal one goes before a name in braces.

    A name for the rest of the path comes last, and stands for no path that belongs to the APIs.
    A path without names is found by one look-up. One with a slash at its end is another path. The
    endpoint of GET answers HEAD too.
    """

    def __init__(self) -> None:
        self._static: dict[str, dict[str, RouteTarget[EndpointT]]] = {}
        self._root: _Node[EndpointT] = _Node()

    def add(
        self, method: str, path: str, endpoint: EndpointT, owner: str, *, general: bool = False
    ) -> None:
        """Add a route. Raises DeclarationError, which names both owners, if it is there already.

        Of a `general` route and another one of the same method and path, that other one counts.
        """
        targets = self._targets(path)
        there = targets.get(method)
        if there is not None and there.general is general:
            raise DeclarationError(
                f"both {there.owner} and {owner} answer {method} {path}: "
                "give one of them another path or method"
            )
        if there is not None and general:
            return
        names = [name for segment in path.split("/") if (name := path_parameter(segment))]
        targets[method] = RouteTarget(endpoint, tuple(names), owner, general)
        if method == "GET":
            targets["HEAD"] = targets[method]

    def add_missing(self, method: str, path: str, endpoint: EndpointT, owner: str) -> None:
        """Add a route unless it is there already."""
        if method not in self._targets(path):
            self.add(method, path, endpoint, owner)

    def find(self, method: str, path: str) -> tuple[EndpointT, PathValues] | None:
        """Find the endpoint, and the values for the names in the path.

        Raises UnicodeDecodeError for a path that is not UTF-8 once it is decoded (RFC 3986,
        section 2.5).
        """
        static = self._static.get(path)
        if static is not None and method in static:
            return static[method].endpoint, NO_VALUES
        for targets, texts in self._matches(path):
            target = targets.get(method)
            if target is not None:
                return target.endpoint, dict(zip(target.names, texts, strict=True))
        return None

    def allowed(self, path: str) -> set[str]:
        """The methods that have an endpoint at the path."""
        return {method for targets, _ in self._matches(path) for method in targets}

    def _matches(
        self, path: str
    ) -> Iterator[tuple[dict[str, RouteTarget[EndpointT]], Sequence[str]]]:
        # Decoded after the split: an encoded slash belongs to its segment.
        segments = [unquote(segment, errors="strict") for segment in path.split("/")[1:]]
        for targets, texts, rest in self._root.matches(segments, 0, ()):
            if not (rest and is_reserved("/" + "/".join(segments))):
                yield targets, texts

    def _targets(self, path: str) -> dict[str, RouteTarget[EndpointT]]:
        node = self._root
        for segment in path.split("/")[1:]:
            node = node.child(segment)
        if "{" not in path:
            self._static[path] = node.targets
        return node.targets


class _Node(Generic[EndpointT]):
    __slots__ = ("any", "literal", "rest", "targets")

    def __init__(self) -> None:
        self.literal: dict[str, _Node[EndpointT]] = {}
        self.any: _Node[EndpointT] | None = None
        self.rest: _Node[EndpointT] | None = None
        self.targets: dict[str, RouteTarget[EndpointT]] = {}

    def child(self, segment: str) -> _Node[EndpointT]:
        if not path_parameter(segment):
            return self.literal.setdefault(segment, _Node())
        if is_rest(segment):
            self.rest = self.rest or _Node()
            return self.rest
        if self.any is None:
            self.any = _Node()
        return self.any

    def matches(
        self, segments: Sequence[str], depth: int, texts: tuple[str, ...]
    ) -> Iterator[tuple[dict[str, RouteTarget[EndpointT]], Sequence[str], bool]]:
        """Find the targets at the end of the segments, with the values that the names stand for.

        The last of the three says whether a name stands for the rest of the path.
        """
        if depth == len(segments):
            yield self.targets, texts, False
            return
        segment = segments[depth]
        if segment in self.literal:
            yield from self.literal[segment].matches(segments, depth + 1, texts)
        if self.any is not None and segment:
            yield from self.any.matches(segments, depth + 1, (*texts, segment))
        if self.rest is not None:
            yield self.rest.targets, (*texts, "/".join(segments[depth:])), True
