"""Calls into a mesh over HTTP: Lambda's API to invoke, the control API for the rest."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast
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
from eventmesh.client.credentials import Credentials
from eventmesh.durable.completion import DURABLE, Completion
from eventmesh.engine.codecs.envelope import load_error
from eventmesh.http.auth.sigv4.signer import Signer
from eventmesh.http.protocol import CALL_ID, CALLBACKS, CONTROL, LAMBDA, MESSAGE_HEADERS, TIMEOUT
from eventmesh.model.duration import format_seconds
from eventmesh.model.errors import (
    AccessDenied,
    BrokerUnavailable,
    FunctionNotFound,
    InvocationError,
    InvocationTimeout,
    PayloadTooLarge,
    SettingsError,
)
from eventmesh.model.event import ATTRIBUTE_PREFIX
from eventmesh.model.message import JSON, NO_HEADERS, Message
from eventmesh.model.result import Result
from eventmesh.model.settings import redacted
from eventmesh.model.trace_context import TRACE_HEADERS, trace_headers
from eventmesh.model.value import value

NO_CREDENTIALS: Final = Credentials()

Authorize: TypeAlias = Callable[[str, URL, Mapping[str, str], bytes], Mapping[str, str]]
"""Adds credentials to the headers of a request: its method, URL, headers and body."""

WAIT: Final = 30.0
"""Seconds to wait for the response to a request without a deadline."""

_SAFE: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""Characters that attributes of CloudEvents may have in a header (HTTP binding, 3.1.3.2)."""

_JSON: Final = {"Content-Type": JSON}

MAX_RESPONSE: Final = 64 * 1024 * 1024
"""The most bytes that are read of a response."""


@value
class HttpResponse:
    """A response of the server, with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def members(self) -> Mapping[str, Any]:
        """The members of the body's JSON object; none if it is not one."""
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return cast(Mapping[str, Any], content) if isinstance(content, dict) else {}


class HttpClient:
    """Sends requests to one server."""

    __slots__ = ("_authorize", "_base", "_session", "address", "clock")

    def __init__(
        self,
        session: ClientSession,
        url: str,
        clock: Clock,
        credentials: Credentials = NO_CREDENTIALS,
    ) -> None:
        self._session = session
        self._base = url.rstrip("/")
        self.address = redacted(url)
        self.clock = clock
        self._authorize = _choose_authorization(credentials, clock)

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
        """Send a request, whose path is encoded, and read the response within `timeout` seconds.

        It may be sent twice, unless it is a POST that is to be sent `once`: a connection that ends
        without a response does not say whether the server has read the request. Raises
        TimeoutError, BrokerUnavailable when the server cannot be reached, and PayloadTooLarge for a
        response over `MAX_RESPONSE`.
        """
        url = URL(self._base + path, encoded=True)
        try:
            with TimeLimit(self.clock, timeout):
                try:
                    return await self._send(method, url, body, headers)
                except ServerDisconnectedError:
                    if once:
                        raise BrokerUnavailable(
                            f"{self.address} closed the connection without an answer: what was "
                            "asked for may or may not have been done"
                        ) from None
                    # The server closed an idle connection just when it was used again.
                    return await self._send(method, url, body, headers)
        except (ClientError, ConnectionError) as error:
            raise BrokerUnavailable(
                f"{self.address} cannot be reached ({str(error) or type(error).__name__}): check "
                "the address, and that the mesh is served there"
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
        """As `request`, for what the server does itself, within `WAIT`.

        Raises the error that the response carries.
        """
        try:
            response = await self.request(method, path, body=body, headers=headers, once=once)
        except TimeoutError:
            raise BrokerUnavailable(f"{self.address} did not answer within {WAIT:g} s") from None
        if response.status in (200, 202):
            return response
        raise self.error_from_response(response)

    async def _send(
        self, method: str, url: URL, body: bytes, headers: Mapping[str, str]
    ) -> HttpResponse:
        async with self._session.request(
            method,
            url,
            data=body,
            headers=self._authorize(method, url, headers, body),
            allow_redirects=False,
        ) as response:
            return HttpResponse(response.status, response.headers, await _read(response))

    def unreadable(self) -> BrokerUnavailable:
        """Build the error for an answer that says something else than it should."""
        return BrokerUnavailable(
            f"{self.address} gave an answer that cannot be read: it has another version of "
            "eventmesh"
        )

    def error_from_response(self, response: HttpResponse) -> InvocationError:
        """Build the error that a response carries."""
        members = response.members()
        fields: Mapping[str, Any] | None = members.get("error")
        if fields is not None:
            trace: Sequence[str] = members.get("stackTrace", ())
            return load_error({**fields, "traceback": "\n".join(trace)})
        reason = members.get("detail") or members.get("message") or members.get("Message") or ""
        what = f"{self.address} answered {response.status} {reason}".rstrip()
        if response.status == 403:  # noqa: PLR2004
            return AccessDenied(what)
        return BrokerUnavailable(f"{what}: check that it is a mesh, with its API switched on")


@asynccontextmanager
async def open_http_client(
    url: str, credentials: Credentials = NO_CREDENTIALS
) -> AsyncGenerator[HttpClient]:
    """Open a client for the server at that URL. Raises SettingsError if it is none."""
    try:
        URL(url)
    except ValueError:  # Its message may contain a part of a password.
        raise SettingsError(
            "the URL of the mesh cannot be read: write http://host:port, with an IPv6 address in "
            "square brackets, and percent-encode special characters"
        ) from None
    # Each request has a deadline of its own, on our clock.
    async with ClientSession(timeout=ClientTimeout(total=None)) as session:
        yield HttpClient(session, url, SystemClock(), credentials)


def _choose_authorization(credentials: Credentials, clock: Clock) -> Authorize:
    """Choose what adds the credentials to the headers of a request."""
    if credentials.access_key:
        key = Signer(credentials.access_key, credentials.secret_key, credentials.session_token)
        return lambda method, url, headers, body: key.sign(
            method, url.host_port_subcomponent or "", url.raw_path_qs, headers, body, clock.now()
        )
    own: Mapping[str, str] = {}
    if credentials.token:
        own = {"Authorization": f"Bearer {credentials.token}"}
    return lambda _method, _url, headers, _body: {**headers, **own}


async def _read(response: ClientResponse) -> bytes:
    received = bytearray()
    async for chunk in response.content.iter_any():
        received += chunk
        if len(received) > MAX_RESPONSE:
            raise PayloadTooLarge(len(received), MAX_RESPONSE)
    return bytes(received)


class HttpTransport:
    """Calls over HTTP."""

    __slots__ = ("_client",)

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def request(self, function: str, message: Message) -> Result:
        """As in the port: it runs at most once. A cancelled wait does not stop a run."""
        try:
            return await self._invoke(function, message)
        except InvocationError as error:
            return Result(b"", error=error)

    async def _invoke(self, function: str, message: Message) -> Result:
        remaining = WAIT
        if message.deadline is not None:
            remaining = message.deadline - self._client.clock.monotonic()
        if remaining <= 0:
            raise InvocationTimeout(f"{function} was not called: its deadline had passed")
        headers = {
            **_message_headers(message),
            TIMEOUT: f"{remaining:.6f}",
            CALL_ID: message.id,
        }
        path = f"{LAMBDA}/{_segment(function)}/invocations"
        try:
            response = await self._client.request(
                "POST", path, body=message.body, headers=headers, timeout=remaining, once=True
            )
        except TimeoutError:
            raise InvocationTimeout(
                f"{function} did not answer within {format_seconds(remaining)}"
            ) from None
        if response.status == 200 and "X-Amz-Function-Error" not in response.headers:  # noqa: PLR2004
            return Result(response.body, content_type=response.headers.get("Content-Type", JSON))
        raise self._client.error_from_response(response)

    async def send(self, destination: str, message: Message, delay: float) -> None:
        if message.trigger == DURABLE:
            # Its id is a secret: it is in the body, and in no address that is logged.
            body = _outcome(Completion.model_validate_json(message.body))
            await self._client.request_now("POST", CALLBACKS, body=body, headers=_JSON)
            return
        query = urlencode({"id": message.id, "delay": f"{delay:.6f}"})
        path = f"{CONTROL}/send/{_segment(destination)}?{query}"
        await self._client.request_now(
            "POST", path, body=message.body, headers=_message_headers(message)
        )

    async def emit(self, event: Message, delay: float) -> None:
        attributes = {
            f"ce-{name.removeprefix(ATTRIBUTE_PREFIX)}": quote(text, safe=_SAFE)
            for name, text in event.headers.items()
            if name.startswith(ATTRIBUTE_PREFIX)
        }
        headers = {
            **_message_headers(event),
            **attributes,
            "ce-id": quote(event.id, safe=_SAFE),
            "ce-type": quote(event.type, safe=_SAFE),
        }
        path = f"{CONTROL}/events?{urlencode({'delay': f'{delay:.6f}'})}"
        await self._client.request_now("POST", path, body=event.body, headers=headers)


def _outcome(completion: Completion) -> bytes:
    """Build the body of a request that completes a callback."""
    fields: dict[str, Any] = {"callback": completion.callback, "heartbeat": completion.heartbeat}
    if completion.error is not None:
        fields["error"] = completion.error.model_dump(by_alias=True)
    elif completion.result is not None:
        fields["result"] = orjson.Fragment(completion.result)
    return orjson.dumps(fields)


def _segment(name: str) -> str:
    """Encode a name as one segment of a path. Raises FunctionNotFound for an empty one."""
    if not name:
        raise FunctionNotFound(name)
    return quote(name, safe="")


def _message_headers(message: Message) -> dict[str, str]:
    """Build the HTTP headers that carry a message's content type and headers."""
    own = {
        name: text
        for name, text in message.headers.items()
        if not name.startswith(ATTRIBUTE_PREFIX) and name not in TRACE_HEADERS
    }
    trace = trace_headers(message.headers)
    # One that HTTP cannot carry is no trace by the standard.
    headers = {name: text for name, text in trace.items() if text.isascii() and text.isprintable()}
    headers["Content-Type"] = message.content_type
    if own:
        headers[MESSAGE_HEADERS] = urlencode(own)
    return headers
