"""Responses as bytes.

aiohttp's own response takes a third of the time of a small request, to assemble headers that are
always the same. A response here is one piece of bytes, most of which is cached.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, ClassVar, Final, cast
from urllib.parse import quote

from aiohttp import HttpVersion11, web

from eventmesh.engine.codecs.json import encode
from eventmesh.http.protocol import INVOCATION_ID
from eventmesh.http.server.problems import PROBLEM_JSON, encode_problem, status_phrase
from eventmesh.http.server.request import Request
from eventmesh.model.errors import Problem
from eventmesh.model.message import JSON, NO_HEADERS
from eventmesh.model.result import ResponseHeaders

WITHOUT_BODY: Final = (204, 304)
"""Statuses of responses that have no body (RFC 9110, section 6.4.1)."""
_SERVER_HEADERS: Final = frozenset(
    (
        "connection",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "transfer-encoding",
        "x-content-type-options",
    )
)
"""Headers that the server sets: those of a handler by these names are left out."""

_ID: Final = f"{INVOCATION_ID}: ".encode()
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""Field names and values (RFC 9110, section 5): a line break would begin another header."""


class BaseResponse(ABC):
    """The status and headers of a response; its kinds add the body.

    Has the three members that aiohttp's protocol uses of a response: `prepare`, `write_eof` and
    `keep_alive`. `request` is the one that it answers, from `answer` on.
    """

    __slots__ = (
        "_head_start",
        "_own_headers",
        "body_length",
        "content_type",
        "headers",
        "invocation_id",
        "keep_alive",
        "request",
        "status",
    )

    request: Request
    holds_body: ClassVar[bool] = False
    """Whether the invocation goes on while it is sent, with the request's body in memory."""

    def __init__(
        self, status: int, content_type: str, headers: ResponseHeaders, invocation_id: str
    ) -> None:
        """Raises ValueError for a header that HTTP cannot carry."""
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self.invocation_id = invocation_id
        self.keep_alive = True
        self.body_length = 0
        self._head_start = _encode_head_start(status, content_type)
        self._own_headers = _encode_headers(headers) if headers else b""

    def answer(self, request: Request) -> web.StreamResponse:
        """Make it the response to that request, for aiohttp to send.

        aiohttp names its own class as the type of a response, and uses three members of it.
        """
        self.request = request
        return cast(web.StreamResponse, self)

    async def prepare(self, _: web.BaseRequest) -> None:  # noqa: B027 - it is to do nothing
        """Do nothing: aiohttp calls this before `write_eof`, which does it all."""

    @abstractmethod
    def write_eof(self) -> Awaitable[None]:
        """Send it. Raises ConnectionResetError."""

    def encode_head(self, framing: bytes, *, ends: bool = False) -> bytes:
        """Encode all before the body; `ends` says that it is the connection's last response."""
        request = self.request
        self.keep_alive = not ends and request.allows_another()
        now = request.connection.clock.now()
        parts = [self._head_start, b"Date: ", _encode_date(int(now)), framing]
        if self.invocation_id:
            parts += (_ID, self.invocation_id.encode(), b"\r\n")
        parts += (self._own_headers, request.response_headers)
        if not self.keep_alive:
            parts.append(b"Connection: close\r\n")
        elif request.version < HttpVersion11:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


class BytesResponse(BaseResponse):
    """A response with its whole body."""

    __slots__ = ("body",)

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = JSON,
        headers: ResponseHeaders = NO_HEADERS,
        invocation_id: str = "",
    ) -> None:
        """A status that has no body gets none (RFC 9110, section 6.4.1)."""
        without = status in WITHOUT_BODY
        super().__init__(status, "" if without else content_type, headers, invocation_id)
        self.body = b"" if without else body

    def write_eof(self) -> Awaitable[None]:
        without = self.status in WITHOUT_BODY
        length = len(self.body)
        data = self.encode_head(b"\r\n" if without else b"\r\nContent-Length: %d\r\n" % length)
        if self.request.method != "HEAD":
            self.body_length = length
            data += self.body
        return self.request.connection.send(data)


def json_response(
    status: int, content: Any, headers: ResponseHeaders = NO_HEADERS, invocation_id: str = ""
) -> BytesResponse:
    """Build a response with a value as JSON."""
    return BytesResponse(status, encode(content), JSON, headers, invocation_id)


def problem_response(problem: Problem, target: str, invocation_id: str = "") -> BytesResponse:
    """Build the response with a problem to a request with that target (RFC 9112, section 3.2)."""
    return BytesResponse(
        problem.status,
        encode_problem(problem, target_path(target), invocation_id),
        PROBLEM_JSON,
        problem.headers,
        invocation_id,
    )


def target_path(target: str) -> str:
    """The path of a target without the query, percent-encoded to ASCII."""
    path = target.partition("?")[0]
    return path if path.isascii() else quote(path.encode(errors="surrogateescape"), safe="/%")


@lru_cache(maxsize=256)
def _encode_head_start(status: int, content_type: str) -> bytes:
    line = f"HTTP/1.1 {status} {status_phrase(status)}\r\n".encode("ascii")
    # No browser is to guess that an answer is a page (https://fetch.spec.whatwg.org/#nosniff).
    line += b"X-Content-Type-Options: nosniff\r\n"
    if not content_type:
        return line
    return line + _encode_headers({"Content-Type": content_type}, left_out=frozenset())


def _encode_headers(headers: ResponseHeaders, left_out: frozenset[str] = _SERVER_HEADERS) -> bytes:
    lines: list[str] = []
    for name, given in headers.items():
        if name.lower() in left_out:
            continue
        for text in (given,) if isinstance(given, str) else given:
            if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
                raise ValueError(
                    f"HTTP cannot carry the header {name!r}: it may have no line break"
                )
            lines.append(f"{name}: {text}\r\n")
    return "".join(lines).encode("latin-1")


@lru_cache(maxsize=2)
def _encode_date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
