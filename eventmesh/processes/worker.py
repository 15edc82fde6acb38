"""What a worker process runs, under its supervisor."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Final, TypeAlias

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, SystemClock, TimeLimit
from eventmesh.brokers.registry import find_adapter, open_broker
from eventmesh.engine.codecs.trust import gateways_of
from eventmesh.gateway.gateway import Gateway
from eventmesh.host import Host, host_services
from eventmesh.leftovers import keep_records
from eventmesh.model.errors import SettingsError
from eventmesh.model.settings import Settings
from eventmesh.presence import Instance, Observer, announce, observe
from eventmesh.processes.catalogue import MeshCatalogue
from eventmesh.processes.instance_info import build_instance
from eventmesh.processes.looking import build_look
from eventmesh.processes.serve import Program, program_name, run
from eventmesh.processes.supervisor_channel import SupervisorChannel
from eventmesh.service import Service
from eventmesh.targets.parse import Target
from eventmesh.targets.services import load_services

_log: Final = logging.getLogger(__name__)

DISCOVERY_SECONDS: Final = 12.0
"""Seconds that a gateway which knows no process yet keeps clients waiting before it answers 503: a
bit longer than the broker may take to store its question which processes run."""


class WorkerField(logging.Filter):
    """Adds the field `worker` with the worker's number to all records."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._number
        return True


def run_service_worker(
    targets: Sequence[Target], settings: Settings, number: int, supervisor: SupervisorChannel
) -> None:
    """Run the services of the targets as worker `number`, until told to stop.

    Raises what importing the targets raises, and what `host_services` raises.
    """
    supervisor.watch(settings.grace)
    services = load_services(targets)
    serve = partial(serve_services, services, supervisor=supervisor)
    _run(program_name(services), serve, settings, number, supervisor)


def run_gateway_worker(settings: Settings, number: int, supervisor: SupervisorChannel) -> None:
    """Run a gateway as worker `number`, until told to stop.

    Raises SettingsError for the embedded broker, and what `host_services` raises.
    """
    if not find_adapter(settings.broker).shared:
        raise SettingsError(
            "on the embedded broker a gateway has no other process to pass requests on to: name a "
            "RabbitMQ with --broker amqp://… or EVENTMESH_BROKER"
        )
    supervisor.watch(settings.grace)
    serve = partial(serve_gateway, supervisor=supervisor)
    _run("gateway", serve, settings, number, supervisor)


_Serve: TypeAlias = Callable[[Broker, Settings], AbstractAsyncContextManager[Host]]


def _run(
    name: str, serve: _Serve, settings: Settings, number: int, supervisor: SupervisorChannel
) -> None:
    broker = open_broker(settings.broker_address, f"{name}, worker {number}")
    open_host = partial(serve, broker, settings)
    run(Program(name, broker, settings, open_host, supervisor.report, [WorkerField(number)]))


@asynccontextmanager
async def serve_services(
    services: Sequence[Service],
    broker: Broker,
    settings: Settings,
    *,
    supervisor: SupervisorChannel | None = None,
) -> AsyncGenerator[Host]:
    """Run the services and announce this process to the mesh, while entered.

    With a `supervisor` it can be told to drain: another worker takes its place.
    What earlier versions of them had declared is unbound once no process declares it.
    """
    clock = SystemClock()
    async with host_services(services, broker, settings, clock=clock) as host:
        restarts = 0 if supervisor is None else supervisor.restarts
        describe = build_instance(host, services, settings, clock, restarts)
        async with (
            announce(
                broker,
                clock,
                describe,
                build_look(host),
                gateways_of(settings),
                drain=None if supervisor is None else supervisor.drain,
            ),
            keep_records(broker, clock, describe(), gateways=gateways_of(settings)),
        ):
            yield host


@asynccontextmanager
async def serve_gateway(
    broker: Broker,
    settings: Settings,
    clock: Clock | None = None,
    *,
    supervisor: SupervisorChannel | None = None,
) -> AsyncGenerator[Host]:
    """Run a gateway to the services that other processes announce, while entered.

    Entering waits until all have had time to answer.
    """
    clock = clock or SystemClock()
    restarts = 0 if supervisor is None else supervisor.restarts
    catalogue = MeshCatalogue()
    gateway = Gateway(catalogue.build({}), clock)

    def change(instances: Mapping[str, Instance]) -> None:
        gateway.show(catalogue.build(instances))

    async def wait_complete(mesh: Observer) -> None:
        await mesh.complete.wait()
        catalogue.settle()
        gateway.show(catalogue.build(mesh.instances))
        gateway.mark_complete()

    async with observe(broker, clock, change, gateways_of(settings)) as mesh:
        try:
            with TimeLimit(clock, DISCOVERY_SECONDS):
                await wait_complete(mesh)
        except TimeoutError:
            _log.warning(
                "the mesh cannot be asked yet which processes run; until then, requests get a 503"
            )
        async with (
            host_services([], broker, settings, clock=clock, http=gateway.serve) as host,
            announce(
                broker,
                clock,
                build_instance(host, [], settings, clock, restarts),
                gateways=gateways_of(settings),
                drain=None if supervisor is None else supervisor.drain,
            ),
        ):
            host.metrics.gauge("presence_refused_total", "", lambda: mesh.refused)
            await wait_complete(mesh)
            yield host
