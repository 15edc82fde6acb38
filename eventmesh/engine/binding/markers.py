"""Markers that say which part of an HTTP request fills a parameter.

They apply to HTTP routes only: an invocation by name fills a marked parameter like any other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Marker:
    """Metadata of an annotation: `Annotated[str, Header("x-request-id")]`.

    `alias` is the name in the request, if it differs from the parameter's. `description` is shown
    in the API documentation. Frozen and hashable, because `typing` keeps annotations in sets.
    """

    alias: str = ""
    description: str = ""


class Path(Marker):
    """The parameter is a segment of the path: `{alias}` in the route."""

    __slots__ = ()


class Query(Marker):
    """The parameter comes from the query string. A list takes all values of a repeated name."""

    __slots__ = ()


class Header(Marker):
    """The parameter is a header. Without an alias it has the parameter's name, with `-` for `_`."""

    __slots__ = ()


class Body(Marker):
    """The parameter comes from the body, even if it is plain.

    A single one is the whole body; several are fields of the object in the body.
    """

    __slots__ = ()
