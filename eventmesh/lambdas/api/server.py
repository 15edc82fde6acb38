"""HTTP for one instance, on a port of its own, on this machine alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, cast

import h11
import orjson

from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)

MAX_HEAD: Final = 64 * 1024
_JSON: Final = ("Content-Type", "application/json")


@value
class Request:
    """A request: its path, its query, and its headers by their names in lower case.

    `body` is what was kept of it, and `size` what it had.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""
    size: int = 0
    query: str = ""


@value
class Answer:
    """The response to a request: its status, headers and body."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


def json_answer(status: int, content: Any, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """Return a response with a value as JSON."""
    return Answer(status, orjson.dumps(content), (_JSON, *headers))


ACCEPTED: Final = json_answer(202, {"status": "OK"})


def refusal(status: int, kind: str, message: str) -> Answer:
    """Return the answer to a request that cannot be."""
    return json_answer(status, {"errorType": kind, "errorMessage": message})


class Flow(Protocol):
    """Stops and resumes the sender of a body."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sink(Protocol):
    """Takes a body while it comes."""

    def feed(self, data: bytes) -> None: ...

    def end(self, trailers: Mapping[str, str]) -> Answer:
        """Take note of its end, and of the headers behind it."""
        ...

    def abort(self) -> None:
        """Take note that the connection was lost before its end."""
        ...


class Reply(Protocol):
    """Answers one request, now or later. Does nothing once the client is gone."""

    @property
    def owner(self) -> int:
        """The process that has asked."""
        ...

    @property
    def is_open(self) -> bool: ...

    def send(self, answer: Answer) -> None: ...


class Api(Protocol):
    """What a server serves."""

    @property
    def max_body(self) -> int:
        """Bytes that are kept of a body."""
        ...

    def find_owner(self, peer: tuple[str, int]) -> int | None:
        """Return which process of the instance has connected from there; None if none has."""
        ...

    def take_loss(self, owner: int) -> None:
        """Take note that a process has closed a connection."""
        ...

    def open_sink(self, request: Request, flow: Flow) -> Sink | None:
        """Return what takes the body of a request while it comes; None if it is to be kept."""
        ...

    def answer(self, request: Request, reply: Reply) -> None: ...


class ApiServer:
    """Listens while the instance lives."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen on a free port, and return the address as runtimes want it: "host:port"."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._api, self._connections), "127.0.0.1", 0
        )
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection of a process: a request at a time."""

    def __init__(self, api: Api, connections: set[_Connection]) -> None:
        self._api = api
        self._connections = connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._sink: Sink | None = None
        self._body = bytearray()
        self._size = 0
        self.owner = 0

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        peer = cast(tuple[str, int], transport.get_extra_info("peername"))
        owner = self._api.find_owner(peer)
        if owner is None:
            _log.warning("%s connected to the Runtime API of %s: refused", peer, self._api)
            self._transport.abort()
            return
        self.owner = owner
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # However it ended: the process tells by its own end what it means.
        self._transport = None
        self._connections.discard(self)
        if self.owner:
            self._api.take_loss(self.owner)
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.abort()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        self._advance()

    def _advance(self) -> None:
        try:
            while self._transport is not None and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            _log.warning("%s sent to its Runtime API what is no HTTP: %s", self._api, error)
            self.close()

    def _take(self, event: Any) -> bool:
        """Take one event. Returns False once there is nothing more to take now."""
        match event:
            case h11.Request():
                self._begin(event)
                return True
            case h11.Data():
                self._take_data(bytes(event.data))
                return True
            case h11.EndOfMessage():
                self._finish(_decode_headers(event.headers))
                return self._http.our_state is h11.IDLE
            case h11.ConnectionClosed():
                self.close()
                return False
            case _:
                return False

    def _begin(self, event: h11.Request) -> None:
        path, _, query = event.target.decode("latin-1").partition("?")
        headers = _decode_headers(event.headers)
        request = Request(event.method.decode(), path, headers, query=query)
        self._request = request
        self._body.clear()
        self._size = 0
        self._sink = self._api.open_sink(request, self)
        if self._http.they_are_waiting_for_100_continue and self._transport is not None:
            go_on = self._http.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._transport.write(go_on or b"")

    def _take_data(self, data: bytes) -> None:
        self._size += len(data)
        if self._sink is not None:
            self._sink.feed(data)
        elif self._size <= self._api.max_body:
            self._body += data

    def _finish(self, trailers: Mapping[str, str]) -> None:
        request = self._request
        if request is None:
            raise AssertionError("the end of a request without a head")
        sink, self._sink = self._sink, None
        if sink is not None:
            self.send(sink.end(trailers))
            return
        # Errors in the middle of a streamed response come behind it.
        headers = {**request.headers, **trailers}
        whole = replace(request, headers=headers, body=bytes(self._body), size=self._size)
        self._body.clear()
        self._api.answer(whole, self)

    def send(self, answer: Answer) -> None:
        if self._transport is None:
            return
        headers = [*answer.headers, ("Content-Length", str(len(answer.body)))]
        http = self._http
        parts = (
            http.send(h11.Response(status_code=answer.status, headers=headers)),
            http.send(h11.Data(data=answer.body)),
            http.send(h11.EndOfMessage()),
        )
        self._transport.write(b"".join(part for part in parts if part))
        if http.our_state is h11.MUST_CLOSE:
            self.close()
        elif http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            if http.trailing_data[0]:
                self._advance()


def _decode_headers(headers: Any) -> dict[str, str]:
    return {name.decode().lower(): text.decode("latin-1") for name, text in headers}
