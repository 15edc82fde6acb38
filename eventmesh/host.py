"""Services running in one process: started in order, drained in reverse."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import (
    AsyncExitStack,
    asynccontextmanager,
)
from typing import Any, Final

from eventmesh.abc import Broker, Handler, Middleware, Slots, Transport
from eventmesh.aio.clock import Clock, SystemClock, TimeLimit
from eventmesh.deliveries.inbox import consume_inboxes
from eventmesh.deliveries.rpc import consume_rpc
from eventmesh.engine.binding.annotations import format_type
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.dispatcher import Dispatcher, MiddlewareFactory
from eventmesh.engine.runtimes.failures import errors_as_results
from eventmesh.engine.runtimes.registry import load_runtime
from eventmesh.engine.spec import (
    Environment,
    FunctionSpec,
    Implementation,
    Runtime,
    SourceContext,
    Trigger,
)
from eventmesh.gateway.request_types import REQUEST_TYPES
from eventmesh.http.source import HttpSource, serve_functions
from eventmesh.middleware.deadline import enforce_deadline
from eventmesh.middleware.logging import log_invocations
from eventmesh.middleware.metrics import Metrics
from eventmesh.middleware.tracing import trace_invocations, trace_transport
from eventmesh.model.errors import DeclarationError
from eventmesh.model.ids import new_id
from eventmesh.model.settings import Settings
from eventmesh.model.topology import slots_name
from eventmesh.model.value import value
from eventmesh.service import Service

_log: Final = logging.getLogger(__name__)


@value
class Host:
    """Services that run: what the launcher and tests may ask of them."""

    instance: str
    """The name of this process among the replicas of its services."""
    functions: Mapping[str, FunctionSpec]
    addresses: Mapping[str, str]
    """Where sources are reached, by their name: "http" → "http://127.0.0.1:8080"."""
    caller: Caller
    """Calls into the mesh, as `Context` does, but from outside of any function."""
    metrics: Metrics
    statistics: Callable[[], Mapping[str, Mapping[str, int]]]
    """By function: `running`, `waiting` and `throttled`."""


@asynccontextmanager
async def hosting(
    services: Sequence[Service],
    broker: Broker,
    settings: Settings,
    *,
    clock: Clock | None = None,
    http: HttpSource | None = serve_functions,
    transport: Transport | None = None,
) -> AsyncGenerator[Host]:
    """Run services while entered, on a broker that its owner has opened.

    Leaving drains: no source takes more, what runs may finish within `settings.grace` seconds,
    the rest is cancelled and handed back. `http` is the HTTP server of the host; with None nothing
    listens. `transport` carries the calls of handlers, where that is not the broker itself.

    Raises DeclarationError when the services do not fit together, SettingsError when an address
    cannot be used, BrokerUnavailable, and whatever a resource raises when it is opened.
    """
    clock = clock or SystemClock()
    implementations = _functions(services)
    functions = [function.spec for function in implementations]
    async with _closed_in_any_case() as stack:
        # Resources first and last: handlers need them until the last one has ended.
        resources = {service.name: await _open_resources(service, stack) for service in services}
        environment = Environment(
            clock=clock,
            transport=trace_transport(transport or BrokerTransport(broker)),
            resources=resources,
        )
        metrics = Metrics(clock)
        dispatcher = Dispatcher(
            functions,
            await _open_handlers(implementations, environment, stack),
            clock,
            _middlewares(services, clock, metrics),
            await _slots(functions, broker, stack),
        )
        dispatcher.gauge(metrics.gauge)
        addresses: dict[str, str] = {}
        taking = AsyncExitStack()
        context = SourceContext(
            broker=broker,
            environment=environment,
            settings=settings,
            functions=dispatcher.functions,
            dispatch=dispatcher.dispatch,
            gauge=metrics.gauge,
            announce=addresses.__setitem__,
            on_stop=taking.push_async_callback,
            instance=new_id()[:12],
        )
        async with _draining(clock, settings.grace) as sources:
            await _start_sources(functions, context, sources, http)
            await sources.enter_async_context(taking)
            yield Host(
                instance=context.instance,
                functions=dispatcher.functions,
                addresses=addresses,
                caller=Caller(environment.transport, clock, ""),
                metrics=metrics,
                statistics=dispatcher.statistics,
            )


def _middlewares(services: Sequence[Service], clock: Clock, metrics: Metrics) -> MiddlewareFactory:
    """What is folded around each handler: a span covers all, and all see a timeout as one."""
    of_service = {service.name: service.middleware for service in services}

    def middlewares(function: FunctionSpec) -> list[Middleware]:
        own = of_service[function.service]
        return [
            trace_invocations(function.code_name),
            log_invocations(clock),
            metrics.measure(function.full_name),
            enforce_deadline(clock, function.limits.timeout),
            *([errors_as_results, *own] if own else []),
        ]

    return middlewares


@asynccontextmanager
async def _closed_in_any_case() -> AsyncGenerator[AsyncExitStack]:
    """A stack that is left in the same way whatever happened: nothing is raised in what is on it.

    A resource that yields and then closes itself, without `try`, is closed after an error too.
    """
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        await stack.aclose()


@asynccontextmanager
async def _draining(clock: Clock, grace: float) -> AsyncGenerator[AsyncExitStack]:
    """A stack of sources that get `grace` seconds in all to finish when it is left."""
    sources = AsyncExitStack()
    try:
        yield sources
    finally:
        try:
            with TimeLimit(clock, grace):
                await sources.aclose()
        except TimeoutError:
            _log.warning(
                "the grace time of %g s is over: what still ran was cancelled and handed back",
                grace,
            )


async def _start_sources(
    functions: Sequence[FunctionSpec],
    context: SourceContext,
    stack: AsyncExitStack,
    http: HttpSource | None,
) -> None:
    """Open the sources, those that others wait for first.

    Left in reverse: the HTTP server stops first, then the timers and queues, then the inboxes, and
    last the RPC queues, because a handler that is finishing may still call another synchronously.
    Before that, those with `on_stop` take nothing more.
    """
    await stack.enter_async_context(consume_rpc(functions, context, REQUEST_TYPES))
    await stack.enter_async_context(consume_inboxes(functions, context))
    groups: dict[type[Trigger], list[tuple[FunctionSpec, Any]]] = defaultdict(list)
    for function in functions:
        for trigger in function.triggers:
            groups[type(trigger)].append((function, trigger))
    for kind, bound in groups.items():
        await stack.enter_async_context(kind.source(bound, context))
    if http is not None:
        await stack.enter_async_context(http(context))


def _functions(services: Sequence[Service]) -> list[Implementation]:
    names = [service.name for service in services]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DeclarationError(
            f"two services are called {min(twice)!r}: rename one, or run them as one service"
        )
    return [function for service in services for function in service.functions.values()]


async def _open_resources(service: Service, stack: AsyncExitStack) -> dict[type, object]:
    opened: dict[type, object] = {}
    for resource in service.resources:
        needs = {name: opened[kind] for name, kind in resource.needs.items()}
        try:
            opened[resource.kind] = await stack.enter_async_context(resource.open(**needs))
        except Exception as error:
            kind = format_type(resource.kind)
            error.add_note(f"This was raised while {service.name} opened its resource {kind}.")
            raise
    return opened


async def _open_handlers(
    functions: Sequence[Implementation], environment: Environment, stack: AsyncExitStack
) -> dict[str, Handler]:
    """Have each function opened by its runtime."""
    runtimes: dict[str, Runtime] = {}
    handlers: dict[str, Handler] = {}
    for function in functions:
        spec = function.spec
        if spec.runtime not in runtimes:
            runtimes[spec.runtime] = load_runtime(spec.runtime)
        opened = runtimes[spec.runtime].open(function, environment)
        handlers[spec.full_name] = await stack.enter_async_context(opened)
    return handlers


async def _slots(
    functions: Sequence[FunctionSpec], broker: Broker, stack: AsyncExitStack
) -> dict[str, Slots]:
    return {
        function.full_name: await stack.enter_async_context(
            broker.slots(slots_name(function.full_name), limit)
        )
        for function in functions
        if (limit := function.limits.reserved_concurrency) is not None
    }
