"""What is taken from a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import parse_qs, parse_qsl

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from eventmesh.aio.clock import TimeLimit
from eventmesh.http.protocol import HEADERS
from eventmesh.http.server.connection import ServerConnection
from eventmesh.model.errors import PayloadTooLarge, Problem
from eventmesh.model.message import JSON, NO_HEADERS, utf8
from eventmesh.model.trace_context import trace_headers

MAX_QUERY_FIELDS: Final = 1000

_NO_QUERY: Final[Mapping[str, Sequence[str]]] = {}
_CODINGS: Final = ("gzip", "deflate", "identity")
"""The content codings of bodies that are taken; aiohttp decodes them as it reads."""


async def read_body(request: web.BaseRequest, limit: int) -> bytes:
    """The body, decoded. Raises PayloadTooLarge, or Problem: 400, 408, 415 or 417."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING)
    if coding is not None and coding.lower() not in _CODINGS:
        taken = {"Accept-Encoding": ", ".join(_CODINGS)}
        raise Problem(415, f"bodies in the coding {coding!r} are not taken", headers=taken)
    payload = request.content
    try:
        body = payload.read_nowait() if payload.is_eof() else await _receive(request, limit)
    except (web.RequestPayloadError, HttpProcessingError):
        raise Problem(400, "the body cannot be decoded") from None
    if len(body) > limit:
        raise PayloadTooLarge(len(body), limit)
    return body


async def _receive(request: web.BaseRequest, limit: int) -> bytes:
    """The body as it comes in, until there is more of it than the limit."""
    declared = request.content_length or 0
    if declared > limit:
        raise PayloadTooLarge(declared, limit)
    connection = cast(ServerConnection, request.protocol)
    await _ask_for_body(request, connection)
    received = bytearray()
    try:
        with TimeLimit(connection.clock, connection.limits.read_timeout):
            while len(received) <= limit and (chunk := await request.content.readany()):
                received += chunk
    except TimeoutError:
        connection.draining = True
        raise Problem(408, "the body did not come in time") from None
    return bytes(received)


async def _ask_for_body(request: web.BaseRequest, connection: ServerConnection) -> None:
    """Tell a client that waits for leave that it may send (RFC 9110, section 10.1.1)."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise Problem(417, f"nothing here meets the expectation {expected!r}")
    await connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def check_json(content_type: str) -> None:
    """Raises Problem 415 for a body that is said to be no JSON."""
    if content_type == JSON:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith("+json"):
        raise Problem(
            415,
            f"the body is said to be {media_type!r}, and JSON is taken",
            headers={"Accept": JSON},
        )


def read_content_type(headers: Mapping[str, str]) -> str:
    """What the body is said to be; JSON if nothing is said."""
    return utf8(headers.get(hdrs.CONTENT_TYPE, JSON))


def parse_query(target: str) -> Mapping[str, Sequence[str]]:
    """The texts of a target's query by name, in their order. Raises Problem 400."""
    query = target.partition("?")[2]
    if not query:
        return _NO_QUERY
    try:
        return parse_qs(
            query, keep_blank_values=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS
        )
    except ValueError:
        raise Problem(
            400, f"the query is not UTF-8, or has more than {MAX_QUERY_FIELDS} fields"
        ) from None


def read_trace_headers(request: web.BaseRequest) -> Mapping[str, str]:
    """The headers of the caller's trace (W3C Trace Context)."""
    headers = request.headers
    if "traceparent" not in headers:
        return NO_HEADERS
    # Bytes that are no UTF-8 come as lone surrogates, and no fault of a trace's ends a request.
    return {name: utf8(text) for name, text in trace_headers(headers).items()}


def read_message_headers(request: web.BaseRequest) -> Mapping[str, str]:
    """The headers that a client wants the invocation to have. Raises Problem 400."""
    given = request.headers.get(HEADERS)
    if given is None:
        return NO_HEADERS
    try:
        given.encode()  # Fails for bytes that were no UTF-8, as what comes next does.
        return dict(parse_qsl(given, strict_parsing=True, errors="strict"))
    except ValueError:
        raise Problem(400, f"{HEADERS} is not written like a query: name=text&name=text") from None
