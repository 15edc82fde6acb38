"""A worker process: what runs under a supervisor."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from eventmesh.abc import Broker
from eventmesh.brokers import broker_at
from eventmesh.cli.announced import instance_of
from eventmesh.cli.loading import load_services
from eventmesh.cli.parent import Parent
from eventmesh.cli.serve import Program, program_name, run
from eventmesh.cli.targets import Target
from eventmesh.clock import SystemClock
from eventmesh.host import Host, hosting
from eventmesh.presence import announcing
from eventmesh.service import Service
from eventmesh.settings import Settings


class WorkerField(logging.Filter):
    """Adds the worker's number to all records, as the field `worker`."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def filter(self, record: logging.LogRecord) -> bool:
        record.worker = self._number
        return True


def work(targets: Sequence[Target], settings: Settings, number: int, parent: Parent) -> None:
    """Run the services of the targets as the worker of that number, until told to stop.

    Raises what importing the targets, and what `hosting` them raises.
    """
    parent.watch(settings.grace)
    services = load_services(targets)
    name = program_name(services)
    broker = broker_at(settings.broker, f"{name}, worker {number}")
    serve = partial(_present, services, broker, settings)
    run(Program(name, broker, settings, serve, parent.report, [WorkerField(number)]))


@asynccontextmanager
async def _present(
    services: Sequence[Service], broker: Broker, settings: Settings
) -> AsyncGenerator[Host]:
    """The services running, and the mesh told of it."""
    clock = SystemClock()
    async with (
        hosting(services, broker, settings, clock=clock) as host,
        announcing(broker, clock, instance_of(host, services, settings, clock)),
    ):
        yield host
