"""Runs services in one process: starts their parts in order, and drains them in reverse."""

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
from eventmesh.engine.dispatcher import Dispatcher, MiddlewareFactory, build_occupancies
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
from eventmesh.http.source import HttpSource, open_authorizers, serve_functions
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
    """Running services: what the launcher and tests may ask about them."""

    instance: str
    """The name of this process among the replicas of its services."""
    functions: Mapping[str, FunctionSpec]
    addresses: Mapping[str, str]
    """Where sources are reached, by their names: "http" → "http://127.0.0.1:8080"."""
    caller: Caller
    """Calls into the mesh, as `Context` does, from outside of any function."""
    metrics: Metrics
    statistics: Callable[[], Mapping[str, Mapping[str, int]]]
    """By function: `running`, `waiting` and `throttled`."""
    stuck: Callable[[], Sequence[str]]
    """The functions of which no run is begun, because all that may run at once hang."""


@asynccontextmanager
async def host_services(
    services: Sequence[Service],
    broker: Broker,
    settings: Settings,
    *,
    clock: Clock | None = None,
    http: HttpSource | None = serve_functions,
    transport: Transport | None = None,
    isolate: bool = True,
) -> AsyncGenerator[Host]:
    """Run services while entered, on a broker that its owner has opened.

    Leaving drains: no source takes more, running invocations may finish within `settings.grace`
    seconds, and the others are cancelled and requeued. `http` is the HTTP server of the host;
    with None nothing listens. `transport` carries the calls of handlers, if not the broker itself.
    Without `isolate`, isolated functions run in this process like all others.

    Raises DeclarationError when the services do not fit together, SettingsError when an address
    cannot be used, BrokerUnavailable, and whatever a resource raises when it is opened.
    """
    clock = clock or SystemClock()
    implementations = _collect_functions(services)
    functions = [function.spec for function in implementations]
    async with _always_close() as stack:
        # Resources are opened first and closed last: handlers need them until the last one ends.
        resources = {service.name: await _open_resources(service, stack) for service in services}
        occupancies = build_occupancies(functions, await _open_slots(functions, broker, stack))
        metrics = Metrics(clock)
        environment = Environment(
            clock=clock,
            transport=trace_transport(transport or BrokerTransport(broker)),
            resources=resources,
            abandon=lambda name: occupancies[name].abandoned.begin(),
            gauge=metrics.gauge,
            isolate=isolate,
        )
        guards = await stack.enter_async_context(open_authorizers(functions, clock))
        dispatcher = Dispatcher(
            functions,
            await _open_handlers(implementations, environment, stack),
            clock,
            _build_middlewares(services, clock, metrics),
            occupancies,
        )
        dispatcher.gauge(metrics.gauge)
        addresses: dict[str, str] = {}
        intakes = AsyncExitStack()
        # Left last of all intakes: what waits for a permit is handed back when no more comes.
        intakes.push_async_callback(dispatcher.hand_back)
        context = SourceContext(
            broker=broker,
            environment=environment,
            settings=settings,
            functions=dispatcher.functions,
            dispatch=dispatcher.dispatch,
            gauge=metrics.gauge,
            announce=addresses.__setitem__,
            on_stop=intakes.push_async_callback,
            instance=new_id()[:12],
            guards=guards,
        )
        async with _drain_sources(clock, settings.grace) as sources:
            await _start_sources(functions, context, sources, http)
            # Entered last, so left first: calls every registered Stop before any source is left.
            await sources.enter_async_context(intakes)
            yield Host(
                instance=context.instance,
                functions=dispatcher.functions,
                addresses=addresses,
                caller=Caller(environment.transport, clock, ""),
                metrics=metrics,
                statistics=dispatcher.statistics,
                stuck=dispatcher.stuck,
            )


def _build_middlewares(
    services: Sequence[Service], clock: Clock, metrics: Metrics
) -> MiddlewareFactory:
    """Build what wraps each handler, outermost first: logs and metrics see the timeout of a run."""
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
async def _always_close() -> AsyncGenerator[AsyncExitStack]:
    """Open a stack that is left without an error whatever happened.

    So a resource that yields, and closes itself after that without `try`, is closed after an error.
    """
    stack = AsyncExitStack()
    try:
        yield stack
    finally:
        await stack.aclose()


@asynccontextmanager
async def _drain_sources(clock: Clock, grace: float) -> AsyncGenerator[AsyncExitStack]:
    """Open a stack of sources. Leaving gives all of them `grace` seconds to finish."""
    sources = AsyncExitStack()
    try:
        yield sources
    finally:
        try:
            with TimeLimit(clock, grace):
                await sources.aclose()
        except TimeoutError:
            _log.warning(
                "the grace time of %g s is over: running invocations were cancelled and requeued",
                grace,
            )


async def _start_sources(
    functions: Sequence[FunctionSpec],
    context: SourceContext,
    stack: AsyncExitStack,
    http: HttpSource | None,
) -> None:
    """Start the sources in the order in which others depend on them.

    They stop in reverse: the HTTP server first, then the timers and queues, then the inboxes, and
    the RPC queues last, because a handler that is finishing may still call another synchronously.
    Before that, sources with `on_stop` stop their intake.
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


def _collect_functions(services: Sequence[Service]) -> list[Implementation]:
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
    """Open each function in its runtime."""
    runtimes: dict[str, Runtime] = {}
    handlers: dict[str, Handler] = {}
    for function in functions:
        spec = function.spec
        if spec.runtime not in runtimes:
            runtimes[spec.runtime] = load_runtime(spec.runtime)
        opened = runtimes[spec.runtime].open(function, environment)
        handlers[spec.full_name] = await stack.enter_async_context(opened)
    return handlers


async def _open_slots(
    functions: Sequence[FunctionSpec], broker: Broker, stack: AsyncExitStack
) -> dict[str, Slots]:
    return {
        function.full_name: await stack.enter_async_context(
            broker.slots(slots_name(function.full_name), limit)
        )
        for function in functions
        if (limit := function.limits.reserved_concurrency) is not None
    }
