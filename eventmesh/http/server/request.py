"""A request, and how its parts are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl

from aiohttp import HttpVersion, StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from multidict import MultiMapping

from eventmesh.aio.clock import TimeLimit
from eventmesh.http.edge.door import Edge
from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.http.edge.proxies import Client
from eventmesh.http.protocol import MESSAGE_HEADERS
from eventmesh.http.server.connection import ServerConnection
from eventmesh.model.errors import PayloadTooLarge, Problem
from eventmesh.model.message import JSON, NO_HEADERS, utf8
from eventmesh.model.settings import Settings, variable
from eventmesh.model.value import value

MAX_QUERY_FIELDS: Final = 1000

_NO_QUERY: Final[Mapping[str, Sequence[str]]] = {}
_CODINGS: Final = ("gzip", "deflate", "identity")
"""The content codings that are accepted; aiohttp decodes them while it reads."""

_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_FORM_ADVICE: Final = ": a function takes a form as a parameter of type bytes, which it parses"


@value
class BodyLimit:
    """How many bytes a body may have, and the option or variable that sets the limit."""

    bytes: int
    setting: str

    def check(self, size: int) -> None:
        """Raise PayloadTooLarge for a body that is larger."""
        if size > self.bytes:
            raise PayloadTooLarge(size, self.bytes, self.setting)


def body_limit(settings: Settings, max_payload: int | None = None) -> BodyLimit:
    """The lower one of the limits of the process and of a function."""
    max_body = variable("max_body")
    if max_payload is None or max_payload > settings.max_body:
        return BodyLimit(settings.max_body, max_body)
    both = f"max_payload and {max_body}" if max_payload == settings.max_body else "max_payload"
    return BodyLimit(max_payload, both)


class Request:
    """One request, and the connection that it came by.

    `target` is as the client sent it (RFC 9112, section 3.2); `headers` ignore the case of names.
    Made once for each request, from that of aiohttp, with the parts that the server uses.
    `response_headers` are lines that its response gets, whatever that will be. `body` is the whole
    body, where it was read to authenticate its sender.
    """

    __slots__ = (
        "_client",
        "_edge",
        "_raw",
        "body",
        "connection",
        "headers",
        "method",
        "response_headers",
        "target",
    )

    def __init__(self, raw: web.BaseRequest, edge: Edge) -> None:
        connection = raw.protocol
        if not isinstance(connection, ServerConnection):
            raise TypeError("this request came by the connection of another server")
        self._raw = raw
        self.connection = connection
        self.method: str = raw.method
        self.target: str = raw.raw_path
        self.headers: MultiMapping[str] = raw.headers
        self.response_headers = edge.response_headers
        self._edge = edge
        self._client: Client | None = None
        self.body: bytes | None = None

    @property
    def path(self) -> str:
        """The path of the target, still percent-encoded, without the query."""
        return self.target.partition("?")[0]

    @property
    def version(self) -> HttpVersion:
        return self._raw.version

    @property
    def client(self) -> Client:
        """Who sent it, behind the proxies that are trusted."""
        if self._client is None:
            peer, proxies = self._raw.remote or "", self._edge.proxies
            self._client = (
                Client(peer) if proxies is None else proxies.find_client(peer, self.headers)
            )
        return self._client

    @property
    def remote(self) -> str:
        """The client's address; empty where there is none."""
        if self._edge.proxies is None:
            return self._raw.remote or ""
        return self.client.address

    @property
    def host(self) -> str:
        """The host that it is for, perhaps with a port, as the client named it; perhaps empty."""
        given = self.headers.get(hdrs.HOST, "")
        return given if self._edge.proxies is None else self.client.host or given

    @property
    def trace_headers(self) -> Mapping[str, str]:
        """The headers of the caller's trace, as far as they are valid and believed."""
        if "traceparent" not in self.headers:
            return NO_HEADERS
        return self._edge.traces.read(self.headers, self.remote)

    @property
    def content(self) -> StreamReader:
        """The body, as a stream."""
        return self._raw.content

    @property
    def content_length(self) -> int:
        """The bytes that the body is declared to have; 0 where the head does not say."""
        return self._raw.content_length or 0

    @property
    def keep_alive(self) -> bool:
        """Whether another request may follow on the connection.

        None can follow one that was not read to its end: where the next one begins is unknown (RFC
        9112, section 9.3).
        """
        raw = self._raw
        return raw.keep_alive and raw.content.is_eof() and not self.connection.draining


async def read_body(request: Request, limit: BodyLimit) -> bytes:
    """Read and decode the body. Raises PayloadTooLarge, or Problem: 400, 408, 415 or 417."""
    if request.body is not None:
        limit.check(len(request.body))
        return request.body
    coding = request.headers.get(hdrs.CONTENT_ENCODING)
    if coding is not None and coding.lower() not in _CODINGS:
        accepted = {"Accept-Encoding": ", ".join(_CODINGS)}
        raise Problem(415, f"bodies in the coding {coding!r} are not accepted", headers=accepted)
    content = request.content
    try:
        body = content.read_nowait() if content.is_eof() else await _receive(request, limit)
    except (web.RequestPayloadError, HttpProcessingError):
        raise Problem(400, "the body cannot be decoded") from None
    limit.check(len(body))
    return body


async def _receive(request: Request, limit: BodyLimit) -> bytes:
    """Receive the body, until it is over the limit."""
    limit.check(request.content_length)
    await _send_continue(request)
    connection, content = request.connection, request.content
    received = bytearray()
    try:
        with TimeLimit(connection.clock, connection.limits.read_timeout):
            while len(received) <= limit.bytes and (chunk := await content.readany()):
                received += chunk
    except TimeoutError:
        connection.draining = True
        raise Problem(408, "the body did not come in time") from None
    return bytes(received)


async def _send_continue(request: Request) -> None:
    """Tell a client that waits for it that it may send the body (RFC 9110, section 10.1.1)."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise Problem(417, f"the expectation {expected!r} is not supported")
    await request.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")


def check_json(content_type: str) -> None:
    """Raise Problem 415 for a body whose content type is not JSON."""
    if content_type == JSON:
        return
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type != JSON and not media_type.endswith("+json"):
        forms = _FORM_ADVICE if media_type in _FORMS else ""
        raise Problem(
            415,
            f"the body is declared as {media_type!r}, and JSON is taken{forms}",
            headers={"Accept": JSON},
        )


def read_content_type(headers: Mapping[str, str]) -> str:
    """Read the content type of the body; JSON where the headers do not say."""
    return utf8(headers.get(hdrs.CONTENT_TYPE, JSON))


def parse_query(target: str) -> Mapping[str, Sequence[str]]:
    """Parse the query of a target: the values by name, in their order. Raises Problem 400."""
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


def read_message_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Read the headers that a client sets for the invocation. Raises Problem 400."""
    given = headers.get(MESSAGE_HEADERS)
    if given is None:
        return NO_HEADERS
    try:
        given.encode()  # Fails for bytes that were not UTF-8, as the next line does.
        headers = dict(parse_qsl(given, strict_parsing=True, errors="strict"))
    except ValueError:
        raise Problem(
            400, f"{MESSAGE_HEADERS} is not written like a query: name=text&name=text"
        ) from None
    return accept_message_headers(headers)
