"""Answers as bytes.

aiohttp's own response takes a third of the time of a small request, to put together headers that
are always the same. An answer here is one piece of bytes, most of which is made once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Any, Final, Protocol, cast
from urllib.parse import quote

from aiohttp import HttpVersion11, web

from eventmesh.aio.clock import Clock
from eventmesh.engine.codecs.json import encode
from eventmesh.http.protocol import INVOCATION_ID
from eventmesh.http.server.problems import PROBLEM_JSON, encode_problem, status_phrase
from eventmesh.model.errors import Problem
from eventmesh.model.message import JSON, NO_HEADERS

_WITHOUT_BODY: Final = (204, 304)
_OURS: Final = frozenset(
    ("connection", "content-length", "content-type", "date", "keep-alive", "transfer-encoding")
)
"""Headers that the server sets: those of a handler by these names are left out."""

_ID: Final = f"{INVOCATION_ID}: ".encode()
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""Field names and values (RFC 9110, section 5): a line break would begin another header."""


class Outlet(Protocol):
    """The connection that an answer goes out by."""

    @property
    def clock(self) -> Clock: ...

    @property
    def draining(self) -> bool:
        """Whether the connection ends with this answer."""
        ...

    async def send(self, data: bytes) -> None:
        """Return when all of it is sent. Raises ConnectionResetError."""
        ...

    def abort(self) -> None:
        """Drop the connection, and what was not sent yet."""
        ...


class BaseResponse:
    """The status and headers of an answer; its kinds add the body.

    Together they have what aiohttp's protocol uses of a response, and no more.
    """

    __slots__ = (
        "_fields",
        "_start",
        "body_length",
        "content_type",
        "headers",
        "invocation_id",
        "keep_alive",
        "status",
    )

    def __init__(
        self, status: int, content_type: str, headers: Mapping[str, str], invocation_id: str
    ) -> None:
        """Raises ValueError for a header that HTTP cannot carry."""
        self.status = status
        self.content_type = content_type
        self.headers = headers
        self.invocation_id = invocation_id
        self.keep_alive = True
        self.body_length = 0
        self._start = _start(status, content_type)
        self._fields = _fields(headers) if headers else b""

    def head(
        self, request: web.BaseRequest, outlet: Outlet, framing: bytes, *, ends: bool = False
    ) -> bytes:
        """All that comes before the body, which is framed so; `ends` is for a last answer.

        A request that was not read to its end is the last one, too: nobody could tell where the
        next one begins (RFC 9112, section 9.3).
        """
        self.keep_alive = (
            request.keep_alive and request.content.is_eof() and not outlet.draining and not ends
        )
        parts = [self._start, b"Date: ", _date(int(outlet.clock.now())), framing]
        if self.invocation_id:
            parts += (_ID, self.invocation_id.encode(), b"\r\n")
        parts.append(self._fields)
        if not self.keep_alive:
            parts.append(b"Connection: close\r\n")
        elif request.version < HttpVersion11:
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)


class BytesResponse(BaseResponse):
    """An answer that is all there."""

    __slots__ = ("_outlet", "_wire", "body")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = JSON,
        headers: Mapping[str, str] = NO_HEADERS,
        invocation_id: str = "",
    ) -> None:
        """A status that has no body gets none (RFC 9110, section 6.4.1)."""
        without = status in _WITHOUT_BODY
        super().__init__(status, "" if without else content_type, headers, invocation_id)
        self.body = b"" if without else body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Get ready to answer that request."""
        self._outlet = cast(Outlet, request.protocol)
        self._wire = self.head(request, self._outlet, self._framing())
        if request.method != "HEAD":
            self.body_length = len(self.body)
            self._wire += self.body

    def _framing(self) -> bytes:
        if self.status in _WITHOUT_BODY:
            return b"\r\n"
        return b"\r\nContent-Length: %d\r\n" % len(self.body)

    async def write_eof(self) -> None:
        """Send it."""
        await self._outlet.send(self._wire)


def json_response(
    status: int, content: Any, headers: Mapping[str, str] = NO_HEADERS, invocation_id: str = ""
) -> BytesResponse:
    """A value as JSON."""
    return BytesResponse(status, encode(content), JSON, headers, invocation_id)


def problem_response(problem: Problem, target: str, invocation_id: str = "") -> BytesResponse:
    """A problem as the answer to a request, whose target (RFC 9112, section 3.2) is given."""
    return BytesResponse(
        problem.status,
        encode_problem(problem, target_path(target), invocation_id),
        PROBLEM_JSON,
        problem.headers,
        invocation_id,
    )


def target_path(target: str) -> str:
    """The path that was asked for, without the query, in ASCII as a URI is."""
    path = target.partition("?")[0]
    return path if path.isascii() else quote(path.encode(errors="surrogateescape"), safe="/%")


@lru_cache(maxsize=256)
def _start(status: int, content_type: str) -> bytes:
    line = f"HTTP/1.1 {status} {status_phrase(status)}\r\n".encode("ascii")
    if not content_type:
        return line
    return line + _fields({"Content-Type": content_type}, ours=frozenset())


def _fields(headers: Mapping[str, str], ours: frozenset[str] = _OURS) -> bytes:
    lines: list[str] = []
    for name, text in headers.items():
        if name.lower() in ours:
            continue
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(text):
            raise ValueError(f"HTTP cannot carry the header {name!r}: it may have no line break")
        lines.append(f"{name}: {text}\r\n")
    return "".join(lines).encode("latin-1")


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")
