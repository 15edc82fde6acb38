"""One client's connection: aiohttp's protocol, with the limits that it leaves out.

A client may not keep a connection for ever by sending or reading next to nothing: the head of a
request, its body and what is sent back each have a deadline.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from eventmesh.aio.clock import Clock, TimeLimit, Timer
from eventmesh.http.server.response import BaseResponse, problem_response
from eventmesh.model.errors import Problem
from eventmesh.model.value import value

KEEP_ALIVE: Final = 75.0
"""Seconds without a request after which a connection is closed: more than the 60 s for which
load balancers commonly keep theirs, so that it is them who close first."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds in which a client must take `SLICE` bytes of what is sent to it."""

SLICE: Final = 64 * 1024

LINGER: Final = 5.0
"""Seconds for which the rest of a refused body is read, so that its sender sees the answer."""

_log: Final = logging.getLogger(__name__)


@value
class ConnectionLimits:
    """What a client gets: seconds for a request's head and for its body."""

    header_timeout: float
    read_timeout: float


class ServerConnection(web.RequestHandler):
    """A connection that ends when its client is too slow."""

    __slots__ = ("_header_timer", "clock", "draining", "limits")

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        limits: ConnectionLimits,
        **options: Any,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            **options,
        )
        self.clock = clock
        self.limits = limits
        self.draining = False
        self._header_timer: Timer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Writing is then over when all has left us, and its deadline covers it all. Not zero:
        # a TLS transport that may hold nothing pauses for ever.
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=1, low=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_header_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._stop_header_timer()
        elif self._header_timer is None:
            # Data came and nothing was made of it: the head of a request is not complete.
            self._header_timer = self.clock.call_later(
                self.limits.header_timeout, self._header_too_slow
            )

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_too_slow(self) -> None:
        self._header_timer = None
        if self.transport is not None:
            self.transport.write(
                b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            )
        self.force_close()

    async def send(self, data: bytes) -> None:
        """Return when all of it has left us.

        Raises ConnectionResetError if the connection is gone, or is ended here because the client
        takes too little.
        """
        for start in range(0, len(data), SLICE):
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client is gone")
            transport.write(data[start : start + SLICE] if len(data) > SLICE else data)
            if self.writing_paused:
                await self._drained(transport)

    async def _drained(self, transport: asyncio.Transport) -> None:
        try:
            with TimeLimit(self.clock, WRITE_TIMEOUT):
                await self._drain_helper()
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError("the client takes nothing of what is sent to it") from None

    def abort(self) -> None:
        """Drop the connection, and what was not sent yet."""
        if self.transport is not None:
            self.transport.abort()

    def finish(self, handover: float) -> None:
        """Close once nothing runs for the client.

        If nothing does, a request may yet come in the `handover` seconds that are left.
        """
        self.draining = True
        if handover:
            self.clock.call_later(handover, self._close_idle)
        else:
            self._close_idle()

    def _close_idle(self) -> None:
        waiting = self._waiter is not None and not self._waiter.done()
        if waiting or not self._request_count:
            self.force_close()

    def cancel(self) -> None:
        """Cancel what runs for the client. It may still be answered, and not more than that."""
        self._lingering_time = 0.0
        if self._task_handler is not None:
            self._task_handler.cancel()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What reads and answers the client's requests, one after the other."""
        return self._task_handler

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's, too detailed for outside
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, or to a fault of the server itself."""
        if status >= 500:  # noqa: PLR2004
            _log.error("answering %s %s failed", request.method, request.path, exc_info=exc)
            problem = Problem(500, "the server failed")
        elif isinstance(exc, LineTooLong):
            problem = Problem(431, "a line of the request's head is too long")
        else:
            problem = Problem(400, "this is no HTTP/1.1 request")
        self.draining = True
        return as_response(problem_response(problem, request.raw_path))


def as_response(answer: BaseResponse) -> web.StreamResponse:
    """An answer as the type that aiohttp's protocol names, of which it uses what an answer has."""
    return cast(web.StreamResponse, answer)
