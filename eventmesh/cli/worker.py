"""A worker process: what runs under a supervisor."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from eventmesh.brokers import broker_at
from eventmesh.cli.loading import load_services
from eventmesh.cli.parent import Parent
from eventmesh.cli.serve import Program, program_name, run
from eventmesh.cli.targets import Target
from eventmesh.host import hosting
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
    serve = partial(hosting, services, broker, settings)
    run(Program(name, broker, settings, serve, parent.report, [WorkerField(number)]))
