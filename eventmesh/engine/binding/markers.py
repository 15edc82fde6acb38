"""Markers that say which part of an HTTP request fills a parameter.

They matter to HTTP routes alone: invoked by name, a marked parameter is filled like any other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marker:
    """Metadata of an annotation: `Annotated[str, Header("x-request-id")]`.

    `alias` is the name in the request, if it is not the parameter's own; `description` is shown
    in the API's documentation. Frozen and hashable, because `typing` keeps annotations in sets.
    """

    alias: str = ""
    description: str = ""


class Path(Marker):
    """The parameter is a part of the path: `{alias}` in the route."""

    __slots__ = ()


class Query(Marker):
    """The parameter comes from the query string; a list takes every value of a repeated name."""

    __slots__ = ()


class Header(Marker):
    """The parameter is a header; without an alias its own name, with `-` for each `_`."""

    __slots__ = ()


class Body(Marker):
    """The parameter comes from the body, even if it is plain.

    Alone it is the whole body; beside others each is a field of the body's object.
    """

    __slots__ = ()
