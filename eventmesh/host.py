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
from eventmesh.aio.clock import Clock, SystemClock, TimeLimit, TimerHandle
from eventmesh.aio.tasks import call_at_once
from eventmesh.deliveries.inbox import consume_inboxes
from eventmesh.deliveries.rpc import consume_rpc
from eventmesh.durable.keeper import Watch
from eventmesh.engine.binding.annotations import format_type
from eventmesh.engine.caller import BrokerTransport, Caller
from eventmesh.engine.dispatcher import Dispatcher, MiddlewareFactory, build_occupancies
from eventmesh.engine.idempotency import build_key_reader
from eventmesh.engine.results import Results
from eventmesh.engine.runtimes.failures import errors_as_results
from eventmesh.engine.runtimes.registry import load_runtime
from eventmesh.engine.spec import (
    Environment,
    FunctionSpec,
    Implementation,
    Runtime,
    SourceContext,
    Stop,
    Trigger,
)
from eventmesh.engine.store import OwnTables
from eventmesh.gateway.request_types import REQUEST_TYPES
from eventmesh.http.source import HttpSource, open_authorizers, serve_functions
from eventmesh.leftovers.mesh import open_leftovers
from eventmesh.middleware.deadline import enforce_deadline
from eventmesh.middleware.idempotency import run_once
from eventmesh.middleware.logging import log_invocations
from eventmesh.middleware.metrics import Metrics
from eventmesh.middleware.payloads import build_payload_reader
from eventmesh.middleware.results import record_runs
from eventmesh.middleware.tracing import trace_invocations, trace_transport
from eventmesh.model.errors import DeclarationError, SettingsError
from eventmesh.model.ids import new_id
from eventmesh.model.settings import Settings, variable
from eventmesh.model.topology import slots_name
from eventmesh.model.value import value
from eventmesh.service import Service
from eventmesh.store.hosting import Stores, open_stores
from eventmesh.store.skip_done import skip_done
from eventmesh.triggers.event import declare_subscriptions

REQUEUE_SECONDS: Final = 1.0
"""Seconds beyond the grace time in which the broker may take what was cancelled back. A supervisor
kills a process a few seconds later."""

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
    stores: Stores
    """The databases of the services, and what publishes their outboxes."""


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
    share_stores: bool = True,
    watch_changes: Watch | None = None,
) -> AsyncGenerator[Host]:
    """Run services while entered, on a broker that its owner has opened.

    Leaving drains: no source takes more, running invocations may finish within `settings.grace`
    seconds, and the others are cancelled and requeued. `http` is the HTTP server of the host;
    with None nothing listens. `transport` carries the calls of handlers, if not the broker itself.
    Without `isolate`, isolated functions run in this process like all others. Without
    `share_stores` no other process uses the stores of the services, and one that is away when it
    is opened raises StoreUnavailable; otherwise it is waited for. `watch_changes` gets each change
    of an execution.

    Raises DeclarationError when the services do not fit together, SettingsError when an address or
    a store cannot be used, BrokerUnavailable, and whatever a resource raises when it is opened.
    """
    clock = clock or SystemClock()
    instance = new_id()[:12]
    implementations = _collect_functions(services)
    functions = [function.spec for function in implementations]
    async with _always_close() as stack:
        last_resort = _LastResort(clock, broker)
        stack.callback(last_resort.disarm)
        # Stores and resources are opened first and closed last: handlers need them until the last
        # one ends.
        stores = await stack.enter_async_context(
            open_stores(
                _find_stores(services, settings),
                _find_tables(services, settings),
                clock,
                settings.store_migrate,
                alone=not share_stores,
            )
        )
        stores.use(functions, clock, trace_transport, watch_changes)
        await stack.enter_async_context(stores.answers(clock, instance, settings.store_keep))
        resources = {service.name: await _open_resources(service, stack) for service in services}
        occupancies = build_occupancies(functions, await _open_slots(functions, broker, stack))
        metrics = Metrics(clock)
        environment = Environment(
            clock=clock,
            transport=trace_transport(transport or BrokerTransport(broker, metrics.runs.delay)),
            resources=resources,
            abandon=lambda name: occupancies[name].abandoned.begin(),
            gauge=metrics.gauge,
            isolate=isolate,
            stores=stores.services,
            revision=settings.revision if share_stores else None,
        )
        results = {
            function.full_name: stores.results[function.service]
            for function in functions
            if function.service in stores.results and function.batching is None
        }
        guards = await stack.enter_async_context(open_authorizers(functions, clock))
        dispatcher = Dispatcher(
            functions,
            await _open_handlers(implementations, environment, stack),
            clock,
            _build_middlewares(
                services,
                clock,
                metrics,
                stores,
                results,
                payloads=settings.record_payloads is True,
            ),
            occupancies,
        )
        dispatcher.gauge(metrics.gauge)
        addresses: dict[str, str] = {}
        intakes = AsyncExitStack()
        stops: list[Stop] = []
        # Left last of all intakes: what waits for a permit is handed back when no more comes.
        intakes.push_async_callback(dispatcher.hand_back)
        intakes.push_async_callback(call_at_once, stops)
        context = SourceContext(
            broker=broker,
            environment=environment,
            settings=settings,
            functions=dispatcher.functions,
            dispatch=dispatcher.dispatch,
            gauge=metrics.gauge,
            announce=addresses.__setitem__,
            on_stop=stops.append,
            instance=instance,
            guards=guards,
            results=results,
            note_delayed=metrics.runs.delay,
            leftovers=open_leftovers(settings.broker_address, broker, clock),
        )
        # Left after the sources, for what the last handlers have committed.
        await stack.enter_async_context(
            stores.relay(broker, clock, instance, metrics.gauge, alone=not share_stores)
        )
        async with _drain_sources(clock, settings.grace, last_resort) as sources:
            await _start_sources(functions, context, sources, http)
            # Entered last, so left first: calls every registered Stop before any source is left.
            await sources.enter_async_context(intakes)
            yield Host(
                instance=instance,
                functions=dispatcher.functions,
                addresses=addresses,
                caller=Caller(environment.transport, clock, ""),
                metrics=metrics,
                statistics=dispatcher.statistics,
                stuck=dispatcher.stuck,
                stores=stores,
            )


def _build_middlewares(
    services: Sequence[Service],
    clock: Clock,
    metrics: Metrics,
    stores: Stores,
    recorded: Mapping[str, Results],
    *,
    payloads: bool,
) -> MiddlewareFactory:
    """Build what wraps each handler, outermost first: logs and metrics see the timeout of a run."""
    of_service = {service.name: service for service in services}

    def middlewares(function: FunctionSpec) -> list[Middleware]:
        service = of_service[function.service]
        own = service.middleware
        read = build_payload_reader(function, service.redact) if payloads else None
        results = recorded.get(function.full_name)
        store = stores.find(function.service)
        return [
            trace_invocations(function.code_name),
            log_invocations(clock),
            metrics.measure(function.full_name, read),
            *([] if results is None else [record_runs(results)]),
            *_build_once(function, clock, stores),
            enforce_deadline(clock, function.limits.timeout),
            *([errors_as_results, *own] if own else []),
            *([] if store is None else [skip_done(store)]),
        ]

    return middlewares


def _build_once(function: FunctionSpec, clock: Clock, stores: Stores) -> list[Middleware]:
    """Build what runs requests with idempotency keys once, around the timeout of each run."""
    read = build_key_reader(function)
    if read is None:
        return []
    claims = stores.claims.get(function.service)
    if claims is None:
        raise SettingsError(
            f"{function.full_name} runs requests with one idempotency key once, for which its "
            "service needs a store: set EVENTMESH_STORE, or write Service(…, store='…')"
        )
    return [run_once(read, claims, clock, function.limits.timeout)]


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


class _LastResort:
    """Has the broker wait for nothing any more, once the grace time is over for good.

    A network that swallows everything would otherwise cost each wait its own limit.
    """

    def __init__(self, clock: Clock, broker: Broker) -> None:
        self._clock = clock
        self._broker = broker
        self._timer: TimerHandle | None = None

    def arm(self, grace: float) -> None:
        self._timer = self._clock.call_later(grace + REQUEUE_SECONDS, self._broker.abandon)

    def disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@asynccontextmanager
async def _drain_sources(
    clock: Clock, grace: float, last_resort: _LastResort
) -> AsyncGenerator[AsyncExitStack]:
    """Open a stack of sources. Leaving gives all of them `grace` seconds to finish."""
    sources = AsyncExitStack()
    try:
        yield sources
    finally:
        last_resort.arm(grace)
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
    await declare_subscriptions(functions, context)
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


def _find_stores(services: Sequence[Service], settings: Settings) -> dict[str, str]:
    """Return the URLs of stores by service. A service's own counts more than the process's."""
    urls = {service.name: service.find_store() or settings.store for service in services}
    return {name: url for name, url in urls.items() if url}


def _find_tables(services: Sequence[Service], settings: Settings) -> list[tuple[str, OwnTables]]:
    """Return the services' own tables, each with the URL of its store.

    Raises SettingsError for tables without a store.
    """
    found: list[tuple[str, OwnTables]] = []
    urls = _find_stores(services, settings)
    for service in services:
        if service.tables is not None:
            if service.name not in urls:
                raise SettingsError(
                    f"the service {service.name!r} has tables, and no store for them: set "
                    f"{variable('store')}, such as to sqlite:///{service.name}.db"
                )
            found.append((urls[service.name], service.tables))
    return found


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
