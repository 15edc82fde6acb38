"""A declared function and the triggers that fire it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar

from eventmesh.abc import Broker, Handler, Transport
from eventmesh.aio.clock import Clock
from eventmesh.engine.binding import Signature
from eventmesh.model.limits import Limits
from eventmesh.model.retry import Retry
from eventmesh.model.settings import Settings
from eventmesh.model.topology import Route, format_destination
from eventmesh.model.value import value

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class Function(Generic[P, R_co]):
    """A handler with its name in the mesh, its triggers and its limits.

    It calls like the plain function it was made of, and declaring it does nothing else.
    """

    def __init__(
        self,
        handler: Callable[P, R_co],
        full_name: str,
        *,
        signature: Signature,
        triggers: Sequence[Trigger],
        limits: Limits,
        retry: Retry,
        on_success: Route | None,
        on_failure: Route | None,
    ) -> None:
        functools.update_wrapper(self, handler)
        self.handler = handler
        self.full_name = full_name
        self.signature = signature
        self.triggers = tuple(triggers)
        self.limits = limits
        self.retry = retry
        self.on_success = on_success
        self.on_failure = on_failure

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        return self.handler(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<function {self.full_name}>"

    @property
    def result_type(self) -> Any:
        return self.signature.result_type

    @property
    def service(self) -> str:
        """The name of the service it belongs to."""
        return self.full_name.partition(".")[0]

    @property
    def local_concurrency(self) -> int:
        """Runs at once in one process: more than the mesh allows in all would only wait."""
        reserved = self.limits.reserved_concurrency
        return (
            self.limits.concurrency if reserved is None else min(self.limits.concurrency, reserved)
        )


AnyFunction: TypeAlias = Function[..., Any]


def function_info(function: AnyFunction) -> dict[str, Any]:
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
        **{
            name: None if route is None else format_destination(route)
            for name, route in destinations.items()
        },
    }


class Trigger(Protocol):
    """What fires a function, as frozen data. All triggers of one kind share one source."""

    @property
    def kind(self) -> str:
        """What fired an invocation, as `Context.trigger` has it: "http", "queue", "every"."""
        ...

    def describe(self) -> str:
        """In a few words, for tables and logs: "POST /orders"."""
        ...

    def check(self, function: AnyFunction) -> None:
        """Raise DeclarationError if it cannot fire that function."""
        ...

    @classmethod
    def source(
        cls, bound: Sequence[tuple[AnyFunction, Self]], runtime: SourceContext
    ) -> AbstractAsyncContextManager[None]:
        """What takes in the invocations of all triggers of the kind, while it is entered.

        Leaving stops the intake, lets what runs finish and hands back the rest; a cancellation
        meanwhile means that there is no more time.
        """
        ...


Stop: TypeAlias = Callable[[], Awaitable[None]]
"""Stop the intake of a source, which finishes what it has until it is left."""

AddGauge: TypeAlias = Callable[[str, str, Callable[[], float]], None]
"""Show a number, of a function, in the metrics: its name, the function's, and how to read it."""


@value
class Environment:
    """What the runs of one process share."""

    clock: Clock
    transport: Transport
    resources: Mapping[str, Mapping[type, object]]
    """By service, then by the type they are injected by."""
    executors: Mapping[str, Executor]
    """By function: the threads in which a handler that is no coroutine runs."""


@value
class SourceContext:
    """What a source gets from the host: whom to take from, whom to hand to."""

    broker: Broker
    environment: Environment
    settings: Settings
    functions: Mapping[str, AnyFunction]
    dispatch: Handler
    pipeline: Callable[[AnyFunction, Handler], Handler]
    gauge: AddGauge
    announce: Callable[[str, str], None]
    """Tell the host under which address a source is reached: a name, and a URL."""
    on_stop: Callable[[Stop], object]
    """Have this called when the host stops, before any source is left: none of them is to take
    new work while another still finishes what it has."""
    instance: str
    """The name of this process among the replicas of its services."""

    @property
    def clock(self) -> Clock:
        return self.environment.clock
