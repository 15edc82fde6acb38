"""The body of a request: read within the limits of its size, its time and the process."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from eventmesh.aio.clock import TimeLimit
from eventmesh.engine.codecs.json_bounds import NODES, count_nodes
from eventmesh.http.limits.bodies import NODE_BYTES, WEIGHED, BodyHold
from eventmesh.http.limits.inflate import CODINGS, MAX_RATIO, Inflater, TooDense, Undecodable
from eventmesh.http.server.problems import UNAVAILABLE_RETRY_SECONDS, retryable_problem
from eventmesh.http.server.request import Request
from eventmesh.model.errors import PayloadTooLarge, Problem
from eventmesh.model.settings import Settings, variable
from eventmesh.model.value import value

MAX_NODES: Final = "max_nodes"


@value
class BodyLimit:
    """How many bytes a body may have, and the option or variable that sets the limit.

    `nodes` is how many JSON values it may have; None for a body that nobody parses here.
    """

    bytes: int
    setting: str
    nodes: int | None = None

    def check(self, size: int) -> None:
        """Raise PayloadTooLarge for a body that is larger."""
        if size > self.bytes:
            raise PayloadTooLarge(size, self.bytes, self.setting)


def body_limit(
    settings: Settings, max_payload: int | None = None, max_nodes: int | None = None
) -> BodyLimit:
    """The lower one of the limits of the process and of a function."""
    max_body = variable("max_body")
    if max_payload is None or max_payload > settings.max_body:
        return BodyLimit(settings.max_body, max_body, max_nodes)
    both = f"max_payload and {max_body}" if max_payload == settings.max_body else "max_payload"
    return BodyLimit(max_payload, both, max_nodes)


async def read_body(request: Request, limit: BodyLimit) -> bytes:
    """Read and decode the body, which the request holds until it ends.

    Raises PayloadTooLarge, or Problem: 400, 408, 413, 415, 417 or 503.
    """
    body = request.body
    if body is None:
        content = request.content
        try:
            if content.is_eof() and hdrs.CONTENT_ENCODING not in request.headers:
                # Most bodies: they came with the head, as they are.
                body = _hold(request, content.read_nowait())
            else:
                body = await _read(request, limit)
        except (web.RequestPayloadError, HttpProcessingError, Undecodable):
            raise Problem(400, "the body cannot be decoded") from None
    limit.check(len(body))
    if limit.nodes is not None and len(body) > WEIGHED:
        _weigh(request, body, limit.nodes)
    return body


async def _read(request: Request, limit: BodyLimit) -> bytes:
    """Read it from the connection, which can be done once."""
    inflater = _find_inflater(request)
    content = request.content
    if content.is_eof():
        body = _decode(request, content.read_nowait(), inflater)
    else:
        body = await _receive(request, limit, inflater)
    if inflater is not None:
        inflater.finish()
    return body


def _find_inflater(request: Request) -> Inflater | None:
    """Find what decodes the body; None where it comes as it is. Raises Problem 415."""
    coding = request.headers.get(hdrs.CONTENT_ENCODING)
    if coding is None:
        return None
    coding = coding.lower()
    if coding not in CODINGS:
        accepted = {"Accept-Encoding": ", ".join(CODINGS)}
        raise Problem(415, f"bodies in the coding {coding!r} are not accepted", headers=accepted)
    return None if coding == "identity" else Inflater(coding)


async def _receive(request: Request, limit: BodyLimit, inflater: Inflater | None) -> bytes:
    """Receive the body, until it is over the limit."""
    limit.check(request.content_length)
    await _send_continue(request)
    connection, content = request.connection, request.content
    clock, limits = connection.clock, connection.limits
    started, wire = clock.monotonic(), 0
    received = bytearray()
    try:
        while len(received) <= limit.bytes:
            with TimeLimit(clock, started + limits.body_deadline(wire) - clock.monotonic()):
                piece = await content.readany()
            if not piece:
                break
            wire += len(piece)
            received += _decode(request, piece, inflater)
    except TimeoutError:
        connection.draining = True
        limits.slow_clients.add(f"{request.remote} sent {wire:,} bytes of a body")
        raise Problem(408, "the body did not come in time") from None
    return bytes(received)


def _decode(request: Request, piece: bytes, inflater: Inflater | None) -> bytes:
    """Decode a piece of the body, and have the request hold it. Raises Problem 413 or 503."""
    if not piece:
        return piece
    if inflater is not None:
        try:
            piece = inflater.feed(piece)
        except TooDense as error:
            request.connection.limits.dense_bodies.add(f"{request.remote}: {error}")
            raise Problem(
                413,
                f"the body grows more than {MAX_RATIO} times when it is decompressed: send it "
                "uncompressed",
            ) from None
    return _hold(request, piece)


def _weigh(request: Request, body: bytes, most: int) -> None:
    """Have the request hold what parsing makes of the body. Raises PayloadTooLarge, or 503."""
    nodes = count_nodes(body)
    if nodes > most:
        raise PayloadTooLarge(nodes, most, MAX_NODES, NODES)
    _take(request, nodes * NODE_BYTES)


def _hold(request: Request, piece: bytes) -> bytes:
    """Have the request hold a piece of its body. Raises Problem 503."""
    if piece:
        _take(request, len(piece))
    return piece


def _take(request: Request, size: int) -> None:
    limits = request.connection.limits
    if request.hold is None:
        request.hold = BodyHold(limits.bodies)
    if not request.hold.take(size):
        limits.refused_bodies.add(f"{limits.bodies.held:,} bytes are held")
        raise retryable_problem(
            503, "too many requests have bodies in memory", UNAVAILABLE_RETRY_SECONDS
        )


async def _send_continue(request: Request) -> None:
    """Tell a client that waits for it that it may send the body (RFC 9110, section 10.1.1)."""
    expected = request.headers.get(hdrs.EXPECT)
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise Problem(417, f"the expectation {expected!r} is not supported")
    await request.connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
