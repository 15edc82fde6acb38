"""One client's connection: aiohttp's protocol, with the limits that it leaves out.

A client may not keep a connection for ever by sending or reading next to nothing: the head of a
request, its body and each part of a response have a deadline. Nor may it take all connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from aiohttp import web

from eventmesh.aio.clock import Clock, TimeLimit, TimerHandle
from eventmesh.http.limits.limits import CONNECTION_BYTES, HttpLimits

KEEP_ALIVE: Final = 75.0
"""Seconds without a request after which a connection is closed: more than the 60 s for which load
balancers commonly keep theirs, so that they close first."""

WRITE_TIMEOUT: Final = 30.0
"""Seconds in which a client must take `SLICE` bytes of a response."""

SLICE: Final = 64 * 1024

READ_BYTES: Final = CONNECTION_BYTES
"""Bytes that are read of a connection at once, and kept for a request that does not take them yet.
asyncio and aiohttp would take 256 KiB: of a thousand clients at once that is more than a small
process has, before any body is counted."""

LINGER: Final = 5.0
"""Seconds for which the rest of a refused body is read, so that its sender sees the response."""

_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: 0\r\n\r\n"
)

ErrorResponder: TypeAlias = Callable[
    [web.BaseRequest, int, BaseException | None], web.StreamResponse
]
"""Makes the response to a request that has no other one: its status, and why."""


class ServerConnection(web.RequestHandler):
    """A connection that ends when its client is too slow.

    `draining` says that it ends with the next response. `peer` is the address at its other end;
    empty where there is none, as of a Unix socket.
    """

    __slots__ = (
        "_counted",
        "_header_timer",
        "_respond_to_error",
        "_silent",
        "clock",
        "draining",
        "limits",
        "peer",
    )

    def __init__(
        self,
        server: web.Server,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        limits: HttpLimits,
        respond_to_error: ErrorResponder,
        **options: Any,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=KEEP_ALIVE,
            lingering_time=LINGER,
            auto_decompress=False,  # `body` does, with a limit.
            read_bufsize=READ_BYTES,
            **options,
        )
        self.clock = clock
        self.limits = limits
        self.draining = False
        self.peer = ""
        self._respond_to_error = respond_to_error
        self._header_timer: TimerHandle | None = None
        self._counted = False
        self._silent = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = _address(transport)
        if why := self.limits.connections.add(self.peer):
            self._refuse(cast(asyncio.Transport, transport), why)
            return
        self._counted = True
        # Writing is then over when the system has it all, and its deadline covers it all. Not
        # zero: a TLS transport that may hold nothing pauses for ever.
        cast(asyncio.WriteTransport, transport).set_write_buffer_limits(high=1, low=0)
        with suppress(AttributeError):  # Other event loops have no such attribute.
            cast(Any, transport).max_size = READ_BYTES
        super().connection_made(transport)
        # From now on, and not from the first byte: who sends nothing takes a descriptor, too.
        self._start_header_timer()

    def _refuse(self, transport: asyncio.Transport, why: str) -> None:
        """Close a connection that is one too many, before anything is made for it."""
        self.limits.refused_connections.add(why)
        self._manager = None  # aiohttp's sign for a connection that it has nothing to do with
        self._force_close = True
        transport.write(_TOO_MANY)
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_header_timer()
        if self._counted:
            self.limits.connections.remove(self.peer)
            self._counted = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent = False
        super().data_received(data)
        waiter = self._waiter
        if self._request_count and (waiter is None or waiter.done()):
            self._stop_header_timer()
        elif self._header_timer is None:
            # Data came and made no request: the head of one is not complete.
            self._start_header_timer()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's
        """Read on, where reading is paused: a body that was whole at once never paused it.

        aiohttp would ask the parser and the transport anyway, each time that it hands a body out.
        """
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _start_header_timer(self) -> None:
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
            who = self.peer or "a client"
            self.limits.slow_clients.add(f"{who} sent no whole head of a request")
            if not self._silent:  # A client that asked nothing expects no answer.
                self.transport.write(_TOO_SLOW)
        self.force_close()

    async def send(self, data: bytes) -> None:
        """Return when the system has taken all of it.

        Raises ConnectionResetError if the connection is gone, and if it is ended here because the
        client reads too slowly.
        """
        for piece in (data,) if len(data) <= SLICE else _cut(data):
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError("the client is gone")
            transport.write(piece)
            if self._paused:
                await self._drain(transport)

    async def _drain(self, transport: asyncio.Transport) -> None:
        try:
            with TimeLimit(self.clock, WRITE_TIMEOUT):
                await self._drain_helper()
        except TimeoutError:
            transport.abort()
            raise ConnectionResetError("the client reads nothing of the response") from None

    def abort(self) -> None:
        """Drop the connection, and what is not sent yet."""
        if self.transport is not None:
            self.transport.abort()

    def finish(self, handover: float) -> None:
        """Close once no request of the client runs.

        Where none does, one may yet come in the `handover` seconds that are left.
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
        """Cancel the request that runs. It may still be answered, and is then the last one."""
        self._lingering_time = 0.0
        if self._task_handler is not None:
            self._task_handler.cancel()

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that reads and answers the client's requests, one after the other."""
        return self._task_handler

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002  # aiohttp's, too detailed for outside
    ) -> web.StreamResponse:
        """The response to what is not HTTP, or to a fault of the server itself."""
        self.draining = True
        return self._respond_to_error(request, status, exc)


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[start : start + SLICE] for start in range(0, len(data), SLICE))


def _address(transport: asyncio.BaseTransport) -> str:
    """The address of the client; empty where there is none, as of a Unix socket."""
    peer: object = transport.get_extra_info("peername")
    return str(cast(tuple[object, ...], peer)[0]) if isinstance(peer, tuple) and peer else ""
