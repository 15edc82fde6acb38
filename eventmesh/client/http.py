"""The way to a mesh over HTTP: Lambda's API for calls, the control API for everything else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

import orjson
from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ServerDisconnectedError,
)
from yarl import URL

from eventmesh.aio.clock import Clock, SystemClock, TimeLimit
from eventmesh.engine.codecs.envelope import load_error
from eventmesh.http.protocol import CALL_ID, CONTROL, HEADERS, LAMBDA, TIMEOUT
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PayloadTooLarge,
)
from eventmesh.model.event import PREFIX
from eventmesh.model.message import JSON, NO_HEADERS, Message
from eventmesh.model.result import Result
from eventmesh.model.settings import redacted
from eventmesh.model.value import value

WAIT: Final = 30.0
"""Seconds to wait for the answer to what has no deadline of its own."""

_SAFE: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Characters that attributes of CloudEvents may have in a header (HTTP binding, 3.1.3.2)."""

MAX_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of an answer that are read."""


@value
class HttpResponse:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def members(self) -> Mapping[str, Any]:
        """The members of its JSON object; none if it is no such thing."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return cast(Mapping[str, Any], content) if isinstance(content, dict) else {}


class HttpClient:
    """Requests to one server."""

    __slots__ = ("_base", "_session", "clock", "shown")

    def __init__(self, session: ClientSession, url: str, clock: Clock) -> None:
        self._session = session
        self._base = url.rstrip("/")
        self.shown = redacted(url)
        self.clock = clock

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        timeout: float = WAIT,
        once: bool = False,
    ) -> HttpResponse:
        """The answer to a request, whose path is encoded, within `timeout` seconds.

        It may be sent twice, unless it is a POST that is to be sent `once`. Raises TimeoutError,
        BrokerUnavailable when the server cannot be reached, and PayloadTooLarge for an answer over
        `MAX_ANSWER`.
        """
        url = URL(self._base + path, encoded=True)
        try:
            with TimeLimit(self.clock, timeout):
                try:
                    return await self._send(method, url, body, headers)
                except ServerDisconnectedError:
                    if once:
                        raise
                    # An idle connection was closed at the very moment it was used again.
                    return await self._send(method, url, body, headers)
        except (ClientError, ConnectionError) as error:
            raise BrokerUnavailable(
                f"{self.shown} cannot be reached ({str(error) or type(error).__name__}): check the "
                "address, and that the mesh is served there"
            ) from error

    async def request_now(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        once: bool = False,
    ) -> HttpResponse:
        """As `request`, for what the server itself does: that takes no longer than `WAIT`.

        Raises whatever error the answer tells of.
        """
        try:
            answer = await self.request(method, path, body=body, headers=headers, once=once)
        except TimeoutError:
            raise BrokerUnavailable(f"{self.shown} did not answer within {WAIT:g} s") from None
        if answer.status in (200, 202):
            return answer
        raise self.failure(answer)

    async def _send(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> HttpResponse:
        async with self._session.request(
            method, url, data=body, headers=headers, allow_redirects=False
        ) as response:
            return HttpResponse(response.status, response.headers, await _read(response))

    def failure(self, answer: HttpResponse) -> InvocationError:
        """The error that an answer tells of."""
        members = answer.members()
        fields: Mapping[str, Any] | None = members.get("error")
        if fields is not None:
            trace: Sequence[str] = members.get("stackTrace", ())
            return load_error({**fields, "traceback": "\n".join(trace)})
        said = members.get("detail") or members.get("message") or members.get("Message") or ""
        what = f"{self.shown} answered {answer.status} {said}".rstrip()
        if answer.status == 403:  # noqa: PLR2004
            return AccessDenied(what)
        return BrokerUnavailable(f"{what}: check that it is a mesh, with its API switched on")


@asynccontextmanager
async def open_http_client(url: str) -> AsyncGenerator[HttpClient]:
    """Requests to the server at that URL while entered."""
    # Each request has a deadline of its own, on the clock that all else is measured by.
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:
        yield HttpClient(session, url, SystemClock())


async def _read(response: ClientResponse) -> bytes:
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > MAX_ANSWER:
            raise PayloadTooLarge(len(received), MAX_ANSWER)
    return bytes(received)


class HttpTransport:
    """Calls over HTTP."""

    __slots__ = ("_connection",)

    def __init__(self, connection: HttpClient) -> None:
        self._connection = connection

    async def request(self, function: str, message: Message) -> Result:
        """As the contract says. What was begun goes on to its deadline when the wait is ended."""
        try:
            return await self._invoke(function, message)
        except InvocationError as error:
            return Result(b"", error=error)

    async def _invoke(self, function: str, message: Message) -> Result:
        remaining = WAIT
        if message.deadline is not None:
            remaining = message.deadline - self._connection.clock.now()
        if remaining <= 0:
            raise InvocationTimeout(f"{function} was not called: the deadline had passed")
        headers = {
            **_given(message),
            TIMEOUT: f"{remaining:.6f}",
            CALL_ID: message.id,
        }
        path = f"{LAMBDA}/{_segment(function)}/invocations"
        try:
            answer = await self._connection.request(
                "POST", path, body=message.body, headers=headers, timeout=remaining
            )
        except TimeoutError:
            raise InvocationTimeout(f"{function} did not answer within {remaining:g} s") from None
        if answer.status == 200 and "X-Amz-Function-Error" not in answer.headers:  # noqa: PLR2004
            return Result(answer.body, content_type=answer.headers.get("Content-Type", JSON))
        raise self._connection.failure(answer)

    async def send(self, destination: str, message: Message, delay: float) -> None:
        query = urlencode({"id": message.id, "delay": f"{delay:.6f}"})
        path = f"{CONTROL}/send/{_segment(destination)}?{query}"
        await self._connection.request_now("POST", path, body=message.body, headers=_given(message))

    async def emit(self, event: Message, delay: float) -> None:
        attributes = {
            f"ce-{name.removeprefix(PREFIX)}": quote(text, safe=_SAFE)
            for name, text in event.headers.items()
            if name.startswith(PREFIX)
        }
        headers = {
            **_given(event),
            **attributes,
            "ce-id": quote(event.id, safe=_SAFE),
            "ce-type": quote(event.type, safe=_SAFE),
        }
        path = f"{CONTROL}/events?{urlencode({'delay': f'{delay:.6f}'})}"
        await self._connection.request_now("POST", path, body=event.body, headers=headers)


def _segment(name: str) -> str:
    """A name as one segment of a path. Raises FunctionNotFound for one that can be none."""
    if not name:
        raise FunctionNotFound(name)
    return quote(name, safe="")


def _given(message: Message) -> dict[str, str]:
    """The HTTP headers of a message's body, and of the headers it has itself."""
    own = {name: text for name, text in message.headers.items() if not name.startswith(PREFIX)}
    headers = {"Content-Type": message.content_type}
    if own:
        headers[HEADERS] = urlencode(own)
    return headers
