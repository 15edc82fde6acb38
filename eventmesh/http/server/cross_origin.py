"""Requests of pages of other origins: refused, unless a route is declared for them (CORS).

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from aiohttp import hdrs
from multidict import istr

from eventmesh.http.server.request import Request
from eventmesh.http.server.response import BaseResponse, BytesResponse
from eventmesh.http.server.routing import Endpoint, PathValues, Router
from eventmesh.model.access.addresses import ANY
from eventmesh.model.access.cors import Cors, is_field_name
from eventmesh.model.duration import seconds
from eventmesh.model.errors import Problem

SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
"""Methods that change nothing (RFC 9110, section 9.2.1): links to them are followed."""

FETCH_SITE: Final = istr("Sec-Fetch-Site")
CROSS_SITE: Final = "cross-site"
"""What a browser, and no page, says of a request that a page of another site has caused
(https://www.w3.org/TR/fetch-metadata/)."""

_PREFLIGHT_VARIES: Final = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


class CorsEndpoint:
    """An endpoint that pages of other origins may use, as far as a declaration says."""

    __slots__ = ("_cors", "_endpoint", "_lines", "_matches", "_open")

    def __init__(self, endpoint: Endpoint, cors: Cors) -> None:
        self._endpoint = endpoint
        self._cors = cors
        self._open = ANY in cors.origins
        self._matches = re.compile("|".join(map(_origin_pattern, cors.origins))).fullmatch
        self._lines = _encode_lines(cors)

    async def __call__(self, request: Request, path: PathValues) -> BaseResponse:
        """Answer, with what lets the page see the answer; also where it is an error."""
        if self._open:
            request.response_headers += b"Access-Control-Allow-Origin: *\r\n" + self._lines
        else:
            origin = request.headers.get(hdrs.ORIGIN, "")
            # Also without an origin: a cache may show the answer to somebody who has one.
            request.response_headers += b"Vary: Origin\r\n"
            if self.allows(origin):
                allowed = f"Access-Control-Allow-Origin: {origin}\r\n".encode()
                request.response_headers += allowed + self._lines
        return await self._endpoint(request, path)

    def allows(self, origin: str) -> bool:
        """Whether pages of that origin may use it."""
        return self._open or self._matches(origin) is not None

    def answer_preflight(self, origin: str, method: str, asked: Sequence[str]) -> BaseResponse:
        """Answer what a browser asks before it sends a request with that method and those headers.

        Raises Problem 403 for what the declaration does not allow.
        """
        if not self.allows(origin):
            raise _refusal(
                f"pages of {origin!r} may not do this: cors of the service allows others"
            )
        allowed = self._cors.headers
        refused = [name for name in asked if not is_field_name(name)]
        if ANY not in allowed:
            refused += [name for name in asked if name not in allowed]
        if refused:
            raise _refusal(f"pages may not send the header {refused[0]!r} here")
        headers = {
            "Access-Control-Allow-Origin": ANY if self._open else origin,
            "Access-Control-Allow-Methods": method,
            "Access-Control-Max-Age": str(int(seconds(self._cors.max_age))),
            "Vary": _PREFLIGHT_VARIES,
        }
        if asked:
            headers["Access-Control-Allow-Headers"] = ", ".join(asked)
        if self._cors.credentials:
            headers["Access-Control-Allow-Credentials"] = "true"
        return BytesResponse(204, headers=headers)


def with_cors(endpoint: Endpoint, cors: Cors | None, method: str) -> Endpoint:
    """Let pages use an endpoint, if the declaration is about its method."""
    if cors is None or (cors.methods and method not in cors.methods):
        return endpoint
    return CorsEndpoint(endpoint, cors)


def answer_preflight(request: Request, router: Router[Endpoint], path: str) -> BaseResponse | None:
    """Answer a preflight request; None for any other OPTIONS. Runs no function.

    Raises Problem 403 where what it asks for is not allowed.
    """
    method = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
    origin = request.headers.get(hdrs.ORIGIN)
    if method is None or origin is None:
        return None
    found = router.find(method, path)
    if found is None or not isinstance(found[0], CorsEndpoint):
        return None
    lines = request.headers.getall(hdrs.ACCESS_CONTROL_REQUEST_HEADERS, ())
    names = [name for line in lines for part in line.split(",") if (name := part.strip(" \t"))]
    return found[0].answer_preflight(origin, method, [name.lower() for name in names])


def check_site(request: Request, endpoint: Endpoint) -> None:
    """Refuse what a page of another site sends to an endpoint that changes something.

    Raises Problem 403. A form of such a page needs no preflight, and brings the user's cookies.
    """
    origin = request.headers.get(hdrs.ORIGIN, "")
    if not isinstance(endpoint, CorsEndpoint) or not endpoint.allows(origin):
        raise Problem(403, f"pages of other sites may not do this ({FETCH_SITE}: {CROSS_SITE})")


def _refusal(detail: str) -> Problem:
    return Problem(403, detail, headers={"Vary": _PREFLIGHT_VARIES})


def _encode_lines(cors: Cors) -> bytes:
    """The lines of an answer that are the same for each origin that may see it."""
    lines = b""
    if cors.credentials:
        lines += b"Access-Control-Allow-Credentials: true\r\n"
    if cors.expose:
        lines += f"Access-Control-Expose-Headers: {', '.join(cors.expose)}\r\n".encode()
    return lines


def _origin_pattern(origin: str) -> str:
    scheme, _, host = origin.partition("://")
    if host.startswith("*."):
        return rf"{scheme}://(?:[a-z0-9_-]+\.)+{re.escape(host[2:])}"
    return re.escape(origin)
