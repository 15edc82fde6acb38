"""The client: `invoke`, `send` and `emit` from outside of the mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, NoReturn, Self, TypeAlias

from eventmesh.abc import Broker, Transport
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import find_adapter, is_registered, open_broker
from eventmesh.client.credentials import Credentials, check_credentials
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.dead_letters import BrokerDeadLetters, DeadLetters
from eventmesh.middleware.tracing import trace_transport
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import redacted, scheme_of

CLIENT_CONNECT_SECONDS: Final = 15.0
"""How long a client tries to reach a broker before it gives up."""

MeshAccess: TypeAlias = tuple[Transport, DeadLetters]
Open: TypeAlias = Callable[[AsyncExitStack, str], Awaitable[MeshAccess]]
"""Opens the access to the mesh at a URL; the stack closes it."""


class Client(Caller):
    """Calls functions of a mesh and emits events, as `Context` does, from outside of it.

        async with Client("http://127.0.0.1:8080") as client:
            receipt = await client.invoke("orders.place_order", order)

    `http://` or `https://` is the address of a process that serves the mesh; `amqp://`, `amqps://`
    or the scheme of another registered broker is that of its broker. Entering opens the client,
    leaving closes it; it can be entered again. `dead_letters` are those of the mesh.

    `token` is sent to a server that authenticates its callers: what `eventmesh token create`
    printed, or a JSON Web Token. With `access_key` and `secret_key`, and `session_token` if the key
    is temporary, requests are signed instead, as AWS's are (Signature Version 4). Over a broker
    there are none of them: the user in its URL says who calls.

    Raises SettingsError for a URL that is not the address of a mesh, and for credentials that make
    no sense.
    """

    __slots__ = ("_open", "_stack", "_url", "dead_letters")

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
    ) -> None:
        super().__init__(_CLOSED, SystemClock(), "")
        credentials = check_credentials(token, access_key, secret_key, session_token)
        self._open = _choose_opener(url, credentials)
        self._url = url
        self._stack = AsyncExitStack()
        self.dead_letters: DeadLetters = _CLOSED

    def __repr__(self) -> str:
        return f"Client({redacted(self._url)!r})"

    async def __aenter__(self) -> Self:
        transport, self.dead_letters = await self._open(self._stack, self._url)
        self._transport = trace_transport(transport)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport, self.dead_letters = _CLOSED, _CLOSED
        await self._stack.aclose()


async def _open_http(credentials: Credentials, stack: AsyncExitStack, url: str) -> MeshAccess:
    # Only a client that uses HTTP pays for loading an HTTP library.
    from eventmesh.client.http import HttpTransport, open_http_client  # noqa: PLC0415
    from eventmesh.client.http_dead_letters import HttpDeadLetters  # noqa: PLC0415

    client = await stack.enter_async_context(open_http_client(url, credentials))
    return HttpTransport(client), HttpDeadLetters(client)


async def _open_over_broker(stack: AsyncExitStack, url: str) -> MeshAccess:
    broker = await stack.enter_async_context(
        open_broker(url, "eventmesh client", connect_timeout=CLIENT_CONNECT_SECONDS)
    )
    functions = partial(_list_announced, broker)
    return BrokerTransport(broker), BrokerDeadLetters(broker, SystemClock(), functions)


async def _list_announced(broker: Broker) -> Iterable[str]:
    # Only a client that asks which functions there are pays for loading what observes them.
    from eventmesh.client.mesh import list_announced_functions  # noqa: PLC0415

    return await list_announced_functions(broker)


def _choose_opener(url: str, credentials: Credentials) -> Open:
    scheme = scheme_of(url)
    if scheme in ("http", "https"):
        return partial(_open_http, credentials)
    if credentials:
        raise SettingsError(
            f"a client of {redacted(url)!r} has no use for a token or an access key: a broker "
            "knows its user by the URL; leave it out, or use the address of a process that serves "
            "the mesh"
        )
    if not is_registered(scheme):
        raise SettingsError(
            f"a client cannot use {redacted(url)!r}: write the address of a process that serves "
            "the mesh, such as http://127.0.0.1:8080, or of its broker, amqp://…"
        )
    if not find_adapter(url).shared:
        raise SettingsError(
            f"a client cannot use {redacted(url)!r}: the embedded broker lives inside the process "
            "that serves it; use the address of that process, such as http://127.0.0.1:8080"
        )
    return _open_over_broker


class _Closed:
    """Stands in for the mesh while the client is not open."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("the client is not open: use it inside 'async with Client(…) as client'")


_CLOSED: Final[Any] = _Closed()
