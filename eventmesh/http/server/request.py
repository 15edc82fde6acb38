"""A request, and how its parts are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl

from aiohttp import HttpVersion, StreamReader, hdrs, web
from multidict import MultiMapping

from eventmesh.http.edge.door import Edge
from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.http.edge.proxies import Client
from eventmesh.http.limits.bodies import BodyHold
from eventmesh.http.protocol import MESSAGE_HEADERS
from eventmesh.http.server.connection import ServerConnection
from eventmesh.model.errors import Problem
from eventmesh.model.message import JSON, NO_HEADERS, utf8

MAX_QUERY_FIELDS: Final = 1000

_NO_QUERY: Final[Mapping[str, Sequence[str]]] = {}
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_FORM_ADVICE: Final = ": a function takes a form as a parameter of type bytes, which it parses"


class Request:
    """One request, and the connection that it came by.

    `target` is as the client sent it (RFC 9112, section 3.2); `headers` ignore the case of names.
    Made once for each request, from that of aiohttp, with the parts that the server uses.
    `response_headers` are lines that its response gets, whatever that will be. `body` is the whole
    body, where it was read to authenticate its sender. `hold` is the memory that its body takes,
    until it ends.
    """

    __slots__ = (
        "_client",
        "_edge",
        "_raw",
        "body",
        "connection",
        "headers",
        "hold",
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
        self.hold: BodyHold | None = None

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
