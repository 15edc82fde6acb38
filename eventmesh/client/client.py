"""The client: `invoke`, `send` and `emit` from outside of the mesh."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn, Self, TypeAlias

from eventmesh.abc import Broker, Transport
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import find_adapter, is_registered, open_broker
from eventmesh.client.credentials import Credentials, check_credentials
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.codecs.trust import gateways_in
from eventmesh.engine.executions.access import ExecutionAccess
from eventmesh.engine.executions.mesh import MeshExecutions
from eventmesh.engine.mesh_results import MeshResults, ResultAccess
from eventmesh.engine.results import StoredResult
from eventmesh.engine.timers.access import TimerAccess
from eventmesh.engine.timers.mesh import MeshTimers
from eventmesh.engine.upkeep.dead_letters import BrokerDeadLetters, DeadLetters
from eventmesh.middleware.tracing import trace_transport
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.settings import redacted, scheme_of

if TYPE_CHECKING:
    # Only a client that is opened pays for loading it.
    from eventmesh.presence.drain import InstanceAccess

CLIENT_CONNECT_SECONDS: Final = 15.0
"""How long a client tries to reach a broker before it gives up."""

MeshAccess: TypeAlias = (
    "tuple[Transport, DeadLetters, ResultAccess, ExecutionAccess, TimerAccess, InstanceAccess]"
)
Open: TypeAlias = "Callable[[AsyncExitStack, str], Awaitable[MeshAccess]]"
"""Opens the access to the mesh at a URL; the stack closes it."""


class Client(Caller):
    """Calls functions of a mesh and emits events, as `Context` does, from outside of it.

        async with Client("http://127.0.0.1:8080") as client:
            receipt = await client.invoke("orders.place_order", order)

    `http://` or `https://` is the address of a process that serves the mesh; `amqp://`, `amqps://`
    or the scheme of another registered broker is that of its broker. Entering opens the client,
    leaving closes it; it can be entered again. `dead_letters` are those of the mesh,
    `executions` those of its durable functions, `timers` what fires functions by time, and
    `instances` its processes.

    `token` is sent to a server that authenticates its callers: what `eventmesh token create`
    printed, or a JSON Web Token. With `access_key` and `secret_key`, and `session_token` if the key
    is temporary, requests are signed instead, as AWS's are (Signature Version 4). Over a broker
    there are none of them: the user in its URL says who calls.

    Raises SettingsError for a URL that is not the address of a mesh, and for credentials that make
    no sense.
    """

    __slots__ = (
        "_open",
        "_results",
        "_stack",
        "_url",
        "dead_letters",
        "executions",
        "instances",
        "timers",
    )

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
        self.executions: ExecutionAccess = _CLOSED
        self.timers: TimerAccess = _CLOSED
        self.instances: InstanceAccess = _CLOSED
        self._results: ResultAccess = _CLOSED

    def __repr__(self) -> str:
        return f"Client({redacted(self._url)!r})"

    async def __aenter__(self) -> Self:
        opened = await self._open(self._stack, self._url)
        transport, self.dead_letters, self._results = opened[:3]
        self.executions, self.timers, self.instances = opened[3:]
        self._transport = trace_transport(transport)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._transport = self.dead_letters = self._results = _CLOSED
        self.executions = self.timers = self.instances = _CLOSED
        await self._stack.aclose()

    async def result(self, id: str, function: str = "") -> StoredResult | None:
        """Return what became of the asynchronous invocation with an id; None if it is not known.

        The service's store remembers it from when it first runs, or is accepted by a route, and
        for EVENTMESH_STORE_KEEP seconds after it has ended. `function` is its name: without it all
        services are asked, and one must know the id, not several, as of an event.

        Raises DeclarationError for several and for an id that none can be, FunctionNotFound for a
        function whose invocations nothing remembers, AccessDenied, StoreUnavailable and
        BrokerUnavailable.
        """
        return _only(await self._results.find(id, function), id)

    async def cancel(self, id: str, function: str = "") -> StoredResult | None:
        """Cancel the asynchronous invocation with an id, and return what is known of it then.

        What waits for a run is not run. A run is told to end, which takes about a second: until
        then its state is "running", and `cancelling`. What has ended stays as it is. With the name
        of its `function` an invocation is cancelled too that is not known yet, because nothing has
        run it; without it, None is returned if it is not known or has ended.

        Raises as `result` does.
        """
        return _only(await self._results.cancel(id, function), id)


def _only(found: Sequence[StoredResult], id: str) -> StoredResult | None:
    if len(found) > 1:
        names = ", ".join(sorted(result.function for result in found))
        raise DeclarationError(f"{id} is an invocation of several functions, {names}: name one")
    return found[0] if found else None


async def _open_http(credentials: Credentials, stack: AsyncExitStack, url: str) -> MeshAccess:
    # Only a client that uses HTTP pays for loading an HTTP library.
    from eventmesh.client.http import HttpTransport, open_http_client  # noqa: PLC0415
    from eventmesh.client.http_dead_letters import HttpDeadLetters  # noqa: PLC0415
    from eventmesh.client.http_executions import HttpExecutions  # noqa: PLC0415
    from eventmesh.client.http_instances import HttpInstances  # noqa: PLC0415
    from eventmesh.client.http_results import HttpResults  # noqa: PLC0415
    from eventmesh.client.http_timers import HttpTimers  # noqa: PLC0415

    client = await stack.enter_async_context(open_http_client(url, credentials))
    return (
        HttpTransport(client),
        HttpDeadLetters(client),
        HttpResults(client),
        HttpExecutions(client),
        HttpTimers(client),
        HttpInstances(client),
    )


async def _open_over_broker(stack: AsyncExitStack, url: str) -> MeshAccess:
    from eventmesh.presence.drain import MeshInstances  # noqa: PLC0415

    broker = await stack.enter_async_context(
        open_broker(url, "eventmesh client", connect_timeout=CLIENT_CONNECT_SECONDS)
    )
    functions = partial(_list_announced, broker, url)
    clock = SystemClock()
    return (
        BrokerTransport(broker),
        BrokerDeadLetters(broker, clock, partial(_list_known, broker, url), gateways_in(url)),
        MeshResults(broker, clock, functions),
        MeshExecutions(broker, clock, functions),
        MeshTimers(broker, clock, functions, gateways_in(url)),
        MeshInstances(broker, clock, gateways_in(url)),
    )


async def _list_announced(broker: Broker, url: str) -> Iterable[str]:
    # Only a client that asks which functions there are pays for loading what observes them.
    from eventmesh.client.mesh import list_announced_functions  # noqa: PLC0415

    return await list_announced_functions(broker, url)


async def _list_known(broker: Broker, url: str) -> Iterable[str]:
    """Return also those that no process announces any more."""
    from eventmesh.leftovers.names import list_recorded_functions  # noqa: PLC0415

    announced = await _list_announced(broker, url)
    return {*announced, *await list_recorded_functions(broker, url)}


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
