"""The declaration of a function, apart from its implementation, and the interfaces around it.

Sources, the dispatcher, documents and tables know a function by its `FunctionSpec`. Only a
`Runtime` knows the implementation that it runs: a Python callable, or whatever else it can open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, field
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from pydantic import TypeAdapter

from eventmesh.abc import Broker, Handler, Transport
from eventmesh.aio.clock import Clock
from eventmesh.engine.binding import HttpBinding, Payload
from eventmesh.engine.context import Context
from eventmesh.engine.results import Results
from eventmesh.engine.store import NO_STORE, ServiceStore
from eventmesh.engine.upkeep.leftovers import ProcessLeftovers
from eventmesh.model.access.authorizers import Alternatives
from eventmesh.model.access.cors import Cors
from eventmesh.model.access.outgoing import Outgoing
from eventmesh.model.access.policy import EVERYONE_IN_THE_MESH, CallPolicy
from eventmesh.model.invocation import HttpRequest, Invocation, RouteTemplate
from eventmesh.model.invocation.claim import KeyPath
from eventmesh.model.limits import Durability, Isolation, Limits
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import Route, format_destination
from eventmesh.model.value import value


class Schema(Protocol):
    """What a function takes and returns, as far as triggers, documents and callers need to know."""

    @property
    def payload(self) -> Payload | None:
        """What it takes if it is invoked by name; None if it takes no payload."""
        ...

    @property
    def is_stream(self) -> bool:
        """Whether it yields items."""
        ...

    @property
    def result_type(self) -> Any:
        """The annotation of its result; if it yields, a list of the items."""
        ...

    @property
    def item_type(self) -> Any:
        """The annotation of one item; of the result, if it does not yield."""
        ...

    @property
    def item_adapter(self) -> TypeAdapter[Any]:
        """Has the JSON schema of one item."""
        ...

    def http_binding(self, route: RouteTemplate) -> HttpBinding:
        """Find which part of a request to that route fills which parameter.

        Raises DeclarationError if the route and the function do not fit together.
        """
        ...

    def build_async_payload(self, route: RouteTemplate) -> Callable[[Invocation], bytes]:
        """Build a function that checks a request to that route and returns the payload to store.

        The stored invocation is bound by name when it is run. The function raises PayloadInvalid.
        Raises DeclarationError as `http_binding` does.
        """
        ...

    def check_payload(self, invocation: Invocation) -> None:
        """Raise PayloadInvalid for a payload that does not fit."""
        ...

    def check_batch(self) -> None:
        """Raise DeclarationError if it does not take batches."""
        ...


class Trigger(Protocol):
    """Fires a function. A trigger is frozen data; all triggers of one class share one source."""

    @property
    def kind(self) -> str:
        """What fired an invocation, as `Context.trigger` has it: "http", "queue", "every"."""
        ...

    def describe(self) -> str:
        """Return a few words for tables and logs: "POST /orders"."""
        ...

    def check(self, function: FunctionSpec) -> None:
        """Raise DeclarationError if it cannot fire that function."""
        ...

    @classmethod
    def source(
        cls, bound: Sequence[tuple[FunctionSpec, Self]], context: SourceContext
    ) -> AbstractAsyncContextManager[None]:
        """Take in the invocations of all triggers of the class while entered.

        Leaving stops the intake, waits for running invocations and requeues the others. A
        cancellation of that wait means that the grace time is over.
        """
        ...


@runtime_checkable
class RoutedTrigger(Protocol):
    """A trigger whose invocations are HTTP requests to one route."""

    @property
    def template(self) -> RouteTemplate: ...


@value
class Batching:
    """How messages are run together: up to `size` of them, as one invocation.

    A batch that is not full is run `window` seconds after its first message came.
    """

    size: int
    window: float


@runtime_checkable
class BatchTrigger(Protocol):
    """A trigger whose messages may be run in batches."""

    @property
    def batching(self) -> Batching | None:
        """How they are; None if each message is run alone."""
        ...


@runtime_checkable
class EventSource(Protocol):
    """A trigger by which events come to the inbox of its function."""

    @property
    def patterns(self) -> tuple[str, ...]: ...

    @property
    def starts(self) -> bool:
        """Whether an event begins an execution of a durable function."""
        ...


@value
class FunctionSpec:
    """The declaration of a function: its name in the mesh, its triggers, limits and schema.

    `runtime` is the name of the runtime that runs it. `description` is for the documentation.
    `code_name` says where its code is, such as "orders.handlers.place_order". Both may be empty.
    `code_place` is the file of its code and the line in it; ("", 0) if that is not known.
    `cors` says which pages of other origins may use its routes; None means none. `policy` says who
    may call it by its name, and `outgoing` what it may call and emit; None leaves that open. `auth`
    says who may use those of its routes that do not say it themselves. `isolation` says which
    processes of its own it runs in; None means the service's. Of invocations with one
    `idempotency_key`, read from their payload, one is run. `durability` is that of a durable
    function.
    """

    full_name: str
    triggers: tuple[Trigger, ...]
    limits: Limits
    retry: Retry
    on_success: Route | None
    on_failure: Route | None
    runtime: str
    schema: Schema
    description: str = ""
    code_name: str = ""
    cors: Cors | None = None
    policy: CallPolicy = EVERYONE_IN_THE_MESH
    outgoing: Outgoing | None = None
    auth: Alternatives | None = None
    isolation: Isolation | None = None
    durability: Durability | None = None
    idempotency_key: KeyPath | None = None
    code_place: tuple[str, int] = ("", 0)

    @property
    def service(self) -> str:
        """The name of the service it belongs to."""
        return self.full_name.partition(".")[0]

    @property
    def routes(self) -> tuple[RouteTemplate, ...]:
        """The routes of those triggers that receive HTTP requests."""
        return tuple(
            trigger.template for trigger in self.triggers if isinstance(trigger, RoutedTrigger)
        )

    @property
    def event_sources(self) -> tuple[EventSource, ...]:
        """The triggers that subscribe it to events."""
        return tuple(each for each in self.triggers if isinstance(each, EventSource))

    @property
    def batching(self) -> Batching | None:
        """How the function takes batches; None if it takes messages one by one."""
        batchings = (
            trigger.batching for trigger in self.triggers if isinstance(trigger, BatchTrigger)
        )
        return next((batching for batching in batchings if batching is not None), None)

    @property
    def local_concurrency(self) -> int:
        """Concurrent runs in one process of the service, at most as many as in the whole mesh."""
        reserved, isolation = self.limits.reserved_concurrency, self.isolation
        local = self.limits.concurrency * (1 if isolation is None else isolation.instances)
        return local if reserved is None else min(local, reserved)

    @property
    def instance_concurrency(self) -> int:
        """Concurrent runs in one instance of an isolated function."""
        return self.limits.concurrency


class Implementation(Protocol):
    """The implementation of a declared function. Its runtime knows how to run it."""

    @property
    def spec(self) -> FunctionSpec: ...


class Runtime(Protocol):
    """Runs the functions whose declarations name it: one object for all of them in a host.

    The limits, the middleware and the settlement see only the `Handler`, and not how it runs.
    """

    def open(
        self, function: Implementation, environment: Environment
    ) -> AbstractAsyncContextManager[Handler]:
        """Make a function ready to run, while entered.

        The handler binds each invocation to what the function takes: the items of a `batch`, the
        parts of an `http` request, or else the payload by name. Raises DeclarationError on
        entering for a function that this runtime cannot run.
        """
        ...


Stop: TypeAlias = Callable[[], Awaitable[None]]
"""Stops the intake of a source and requeues what has not begun; what runs is finished until the
source is left."""

Guard: TypeAlias = Callable[[HttpRequest], Awaitable[str]]
"""Verifies who sent a request to a route, and returns the identity as messages carry it.

Raises Unauthenticated, AccessDenied or Problem for who may not use the route.
"""

GuardKey: TypeAlias = tuple[str, str]
"""The name of a function, and the key of one of its routes."""

AddGauge: TypeAlias = Callable[[str, str, Callable[[], float]], None]
"""Adds a number to the metrics: its name, the name of the function, and how to read it."""


Abandon: TypeAlias = Callable[[str], Callable[[], None]]
"""Tells that a run of the function with that name goes on although it is over for its caller.

It keeps its permit and its mesh-wide slot until what is returned is called, in the event loop.
"""


def _forget(_: str) -> Callable[[], None]:
    return lambda: None


NoteDelayed: TypeAlias = Callable[[str, str, float], object]
"""Tells that the broker holds an invocation of a function until a time: its name, its id, and
seconds since the epoch."""


def _note_nothing(function: str, id: str, until: float) -> None:
    """Note nothing: nobody looks."""


def _show_nothing(name: str, function: str, read: Callable[[], float]) -> None:
    """Show no metric: nobody reads them."""


MakeContext: TypeAlias = Callable[
    [Invocation, Transport, Clock, Outgoing | None, ServiceStore], Context
]
"""Makes the context of a run from what all contexts have."""


@value
class Environment:
    """What all runs in one process share."""

    clock: Clock
    transport: Transport
    resources: Mapping[str, Mapping[type, object]]
    """By service, then by the type they are injected by."""
    abandon: Abandon = _forget
    """For runtimes that cannot end a run that is cancelled."""
    gauge: AddGauge = _show_nothing
    """Adds a number of a runtime's own to the metrics."""
    isolate: bool = True
    """Whether isolated functions get processes of their own; in a test they may run in it."""
    stores: Mapping[str, ServiceStore] = field(default_factory=dict[str, ServiceStore])
    """By service, where it has one."""
    without_store: ServiceStore = NO_STORE
    """What stands in place of a store that a service does not have."""
    revision: str | None = None
    """What this version of the code is called, "" if it has no name; None where there are no other
    processes, which may have another one."""
    make_context: MakeContext = Context
    """Makes the context of a run."""


@value
class SourceContext:
    """What a source gets from the host."""

    broker: Broker
    environment: Environment
    settings: Settings
    functions: Mapping[str, FunctionSpec]
    dispatch: Handler
    gauge: AddGauge
    announce: Callable[[str, str], None]
    """Tells the host at which address a source is reached: a name, and a URL."""
    on_stop: Callable[[Stop], object]
    """Registers what is called when the host stops, before any source is left. A source that
    registers nothing stops its intake when it is left."""
    instance: str
    """The name of this process among the replicas of its services."""
    guards: Mapping[GuardKey, Guard] = field(default_factory=dict[GuardKey, Guard])
    """What verifies the callers of routes that not everyone may use."""
    results: Mapping[str, Results] = field(default_factory=dict[str, Results])
    """What remembers the asynchronous invocations of a function, by its name, if anything does."""
    note_delayed: NoteDelayed = _note_nothing
    """For those who ask where an invocation is."""
    leftovers: ProcessLeftovers | None = None
    """What is left of functions that no process has; None at a broker inside this process."""

    @property
    def clock(self) -> Clock:
        return self.environment.clock


def function_info(function: FunctionSpec) -> dict[str, Any]:
    """A function in plain values: durations in seconds, sizes in bytes, None for no limit.

    It is what processes announce, the control API tells and `eventmesh list --json` prints.
    """
    limits, retry = function.limits, function.retry
    destinations = {"on_success": function.on_success, "on_failure": function.on_failure}
    return {
        "name": function.full_name,
        "service": function.service,
        "triggers": [
            {"kind": trigger.kind, "description": trigger.describe()}
            for trigger in function.triggers
        ],
        "limits": asdict(limits),
        "retry": {name: getattr(retry, name) for name in Retry.__slots__},
        "access": function.policy.access,
        "callers": list(function.policy.callers),
        "durable": function.durability is not None,
        **{
            name: None if route is None else format_destination(route)
            for name, route in destinations.items()
        },
    }
