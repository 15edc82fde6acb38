"""Which pages of other origins may use the routes of a service (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from eventmesh.model.access.addresses import ANY
from eventmesh.model.duration import Duration, seconds
from eventmesh.model.errors import DeclarationError
from eventmesh.model.value import value

METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")

MAX_NAMES: Final = 100
"""Names in one list of a declaration."""

_LABEL: Final = r"[a-z0-9_-]{1,63}"
_ORIGIN: Final = re.compile(
    rf"https?://(?:(?:\*\.)?{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[0-9]{{1,5}})?"
)
"""As a browser writes it: without a path and in small letters (RFC 6454, section 6.2)."""
_DEFAULT_PORT: Final = re.compile(r"(?:http://.*:80|https://.*:443)")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@value
class Cors:
    """Which pages of other origins may use the routes of a service, and how.

    Browsers refuse to show a page the answers of another origin, unless that allows it, and ask
    before they send it anything that a form could not (https://fetch.spec.whatwg.org/#http-cors-protocol).

    `origins` are those of the pages: "https://shop.example.org", "https://*.example.org" for all
    names below, "http://localhost:5173", or "*" for all. `methods` are those of the routes that
    pages may use, all by default; `headers` what requests may carry beyond what forms do, or "*"
    for anything; `expose` what pages may read of the answer's headers, beyond the usual ones. With
    `credentials` requests carry the user's cookies and log-in: then `origins` are listed. A
    browser asks again after `max_age`, of which it takes what it likes.

    Raises DeclarationError for what cannot work.
    """

    origins: Sequence[str]
    methods: Sequence[str] = ()
    headers: Sequence[str] = ("authorization", "content-type")
    credentials: bool = False
    max_age: Duration = 600.0
    expose: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("origins", "methods", "headers", "expose"):
            object.__setattr__(self, name, _read_names(name, getattr(self, name)))
        object.__setattr__(self, "max_age", seconds(self.max_age, "max_age"))
        for why in self._problems():
            raise DeclarationError(f"Cors: {why}")

    def describe(self) -> dict[str, Any]:
        """The declaration in plain values, as a process announces it."""
        return asdict(self)

    def _problems(self) -> Iterator[str]:
        yield from self._origin_problems()
        if unknown := [method for method in self.methods if method not in METHODS]:
            yield f"{unknown[0]!r} is none of the methods of routes: {', '.join(METHODS)}"
        for name in (*self.headers, *self.expose):
            if not is_field_name(name):
                yield f"{name!r} is no name of a header"
        if ANY in self.expose and self.credentials:
            yield "expose=['*'] means nothing with credentials=True: list the headers"
        given: Any = self.credentials
        if not isinstance(given, bool):
            yield f"credentials={given!r} is neither True nor False"

    def _origin_problems(self) -> Iterator[str]:
        if not self.origins:
            yield "origins is empty: list those of the pages, or leave cors out"
        for origin in self.origins:
            if origin != ANY and not _ORIGIN.fullmatch(origin):
                yield (
                    f"{origin!r} is no origin: write a scheme, a host and perhaps a port, as in "
                    "'https://shop.example.org'"
                )
            if _DEFAULT_PORT.fullmatch(origin):
                yield f"browsers leave out the port of {origin!r}: leave it out here, too"
        if self.credentials and ANY in self.origins:
            yield (
                "credentials=True lets pages act as the user who is logged in, and origins=['*'] "
                "would let every page do so: list the origins"
            )


def is_field_name(text: str) -> bool:
    """Whether a text can be the name of a header (RFC 9110, section 5.1)."""
    return _FIELD_NAME.fullmatch(text) is not None


def read_cors(given: Mapping[str, Any]) -> Cors:
    """Read what another process announces. Raises DeclarationError.

    Members that are not known are left out: a later version may have more.
    """
    if "origins" not in given:
        raise DeclarationError("Cors: origins is empty: list those of the pages")
    return Cors(**{name: given[name] for name in _NAMES if name in given})


_NAMES: Final = tuple(each.name for each in fields(Cors))


def _read_names(name: str, given: Any) -> tuple[str, ...]:
    if not _is_sequence(given) or len(given) > MAX_NAMES or not _are_texts(given):
        raise DeclarationError(f"Cors: {name}={given!r} is no list of {MAX_NAMES} texts at most")
    return tuple(each.upper() if name == "methods" else each.lower() for each in given)


def _is_sequence(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _are_texts(given: Any) -> bool:
    return all(isinstance(each, str) for each in given)
