"""A request, and how its parts are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs, parse_qsl

from aiohttp import HttpVersion, StreamReader, hdrs
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy, MultiMapping, istr

from eventmesh.http.edge.door import Edge
from eventmesh.http.edge.message_headers import accept_message_headers
from eventmesh.http.limits.bodies import BodyHold
from eventmesh.http.protocol import MESSAGE_HEADERS
from eventmesh.http.server.connection import ServerConnection
from eventmesh.model.errors import Problem
from eventmesh.model.message import JSON, NO_HEADERS, utf8

MAX_QUERY_FIELDS: Final = 1000

_TRACEPARENT: Final = istr("traceparent")
_NO_FIELDS: Final = CIMultiDictProxy(CIMultiDict[str]())
_NO_QUERY: Final[Mapping[str, Sequence[str]]] = {}
_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
_FORM_ADVICE: Final = ": a function takes a form as a parameter of type bytes, which it parses"


class Request:
    """One request, and the connection that it came by.

    `target` is as the client sent it (RFC 9112, section 3.2); `headers` ignore the case of names.
    `remote` is the client's address, behind the proxies that are trusted; empty where there is
    none. `response_headers` are lines that its response gets, whatever that will be. `body` is the
    whole body, where it was read to authenticate its sender. `hold` is the memory that its body
    takes, until it ends. `content` is the body as a stream.

    It takes the place of aiohttp's own request, which would take as long to make as all that comes
    before the function. aiohttp's protocol uses three members of it: `_task`, `_finish` and
    `_cancel`.
    """

    __slots__ = (
        "_message",
        "_named_host",
        "_task",
        "body",
        "connection",
        "content",
        "edge",
        "headers",
        "hold",
        "method",
        "remote",
        "response_headers",
        "target",
    )

    def __init__(
        self,
        message: RawRequestMessage,
        content: StreamReader,
        connection: ServerConnection,
        edge: Edge,
    ) -> None:
        self._message = message
        self.content = content
        self.connection = connection
        self.edge = edge
        self.method: str = message.method
        self.target: str = message.path
        # aiohttp gives the request that stands for what is not HTTP a dict.
        self.headers: MultiMapping[str] = message.headers or _NO_FIELDS
        self.response_headers = edge.response_headers
        self.body: bytes | None = None
        self.hold: BodyHold | None = None
        self._named_host = ""
        self.remote = connection.peer
        if edge.proxies is not None:
            client = edge.proxies.find_client(connection.peer, self.headers)
            self.remote, self._named_host = client.address, client.host

    @property
    def path(self) -> str:
        """The path of the target, still percent-encoded, without the query."""
        return self.target.partition("?")[0]

    @property
    def version(self) -> HttpVersion:
        return self._message.version

    @property
    def host(self) -> str:
        """The host that it is for, perhaps with a port, as the client named it; perhaps empty."""
        return self._named_host or self.headers.get(hdrs.HOST, "")

    @property
    def content_length(self) -> int:
        """The bytes that the body is declared to have; 0 where the head does not say."""
        return int(self.headers.get(hdrs.CONTENT_LENGTH, 0))

    def read_trace_headers(self) -> Mapping[str, str]:
        """Read the headers of the caller's trace, as far as they are valid and believed."""
        if _TRACEPARENT not in self.headers:
            return NO_HEADERS
        return self.edge.traces.read(self.headers, self.remote)

    def allows_another(self) -> bool:
        """Return whether another request may follow on the connection.

        None can follow one that was not read to its end: where the next one begins is unknown (RFC
        9112, section 9.3).
        """
        return not (
            self._message.should_close or self.connection.draining or not self.content.is_eof()
        )

    def _finish(self) -> None:
        """Do nothing: aiohttp's own request would remove the files of a form."""

    def _cancel(self, error: BaseException) -> None:
        """Have whoever reads the body get that error."""
        self.content.set_exception(error)


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
