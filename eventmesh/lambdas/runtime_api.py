"""The Runtime API of one instance: HTTP on a port of its own, on this machine alone.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html, version 2018-06-01.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import h11
import orjson

from eventmesh.model.value import value

_log: Final = logging.getLogger(__name__)

ROOT: Final = "/2018-06-01/runtime/"
MAX_ERROR: Final = 256 * 1024
"""Bytes of an error that a runtime reports."""
MAX_HEAD: Final = 64 * 1024
_JSON: Final = ("Content-Type", "application/json")


@value
class Answer:
    """The response to a request: its status, headers and body."""

    status: int
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


ACCEPTED: Final = Answer(202, b'{"status":"OK"}', (_JSON,))
_Give = Callable[[Answer], None]


def refusal(status: int, kind: str, message: str) -> Answer:
    """Return the answer to a request that cannot be."""
    return Answer(status, orjson.dumps({"errorType": kind, "errorMessage": message}), (_JSON,))


class RuntimeClient(Protocol):
    """Who serves the API: an instance."""

    @property
    def max_response(self) -> int:
        """Bytes that a response may have."""
        ...

    def owns(self, peer: tuple[str, int]) -> bool:
        """Whether it is a process of the instance that has connected from there."""
        ...

    def next(self, give: _Give) -> None:
        """Give the next invocation, once there is one."""
        ...

    def respond(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the result of an invocation."""
        ...

    def refuse_response(self, id: str, size: int) -> Answer:
        """Take note of a result that is too large."""
        ...

    def fail(self, id: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the error of an invocation."""
        ...

    def fail_init(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take the error of the initialisation."""
        ...


class RuntimeApi:
    """Listens while the instance lives."""

    def __init__(self, client: RuntimeClient) -> None:
        self._client = client
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Listen on a free port, and return the address as runtimes want it: "host:port"."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self._client, self._connections), "127.0.0.1", 0
        )
        host, port = self._server.sockets[0].getsockname()
        return f"{host}:{port}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()


class _Connection(asyncio.Protocol):
    """One connection of a runtime: a request at a time."""

    def __init__(self, client: RuntimeClient, connections: set[_Connection]) -> None:
        self._client = client
        self._connections = connections
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        peer = cast(tuple[str, int], transport.get_extra_info("peername"))
        if not self._client.owns(peer):
            _log.warning("%s connected to the Runtime API of %s: refused", peer, self._client)
            self._transport.abort()
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # However it ended: the process tells by its own end what it means.
        self._transport = None
        self._connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

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
            _log.warning("%s sent to its Runtime API what is no HTTP: %s", self._client, error)
            self.close()

    def _take(self, event: Any) -> bool:
        """Take one event. Returns False once there is nothing more to take now."""
        match event:
            case h11.Request():
                self._request = event
                self._body.clear()
                self._size = 0
                return True
            case h11.Data():
                self._size += len(event.data)
                if self._size <= max(self._client.max_response, MAX_ERROR):
                    self._body += event.data
                return True
            case h11.EndOfMessage():
                self._dispatch(event)
                return self._http.our_state is h11.IDLE
            case h11.ConnectionClosed():
                self.close()
                return False
            case _:
                return False

    def _dispatch(self, end: h11.EndOfMessage) -> None:
        request = self._request
        if request is None:
            raise AssertionError("the end of a request without a head")
        headers = {name.decode(): text.decode("latin-1") for name, text in request.headers}
        # Errors in the middle of a streamed response come behind it.
        headers |= {name.decode(): text.decode("latin-1") for name, text in end.headers}
        target, method = request.target.decode("latin-1"), request.method.decode()
        path = target.partition("?")[0]
        if not path.startswith(ROOT):
            self._give(refusal(404, "NotFound", f"there is no {path}"))
            return
        match (method, *path.removeprefix(ROOT).split("/")):
            case ("GET", "invocation", "next"):
                self._client.next(self._give)
            case ("POST", "invocation", id, "response"):
                self._give(self._respond(id, headers))
            case ("POST", "invocation", id, "error"):
                self._give(self._client.fail(id, bytes(self._body[:MAX_ERROR]), headers))
            case ("POST", "init", "error"):
                self._give(self._client.fail_init(bytes(self._body[:MAX_ERROR]), headers))
            case _:
                self._give(refusal(404, "NotFound", f"there is no {method} {path}"))

    def _respond(self, id: str, headers: Mapping[str, str]) -> Answer:
        if self._size > self._client.max_response:
            return self._client.refuse_response(id, self._size)
        return self._client.respond(id, bytes(self._body), headers)

    def _give(self, answer: Answer) -> None:
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
        self._body.clear()
        if http.our_state is h11.MUST_CLOSE:
            self.close()
        elif http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            if http.trailing_data[0]:
                self._advance()
