"""By which queues a service is scaled, and how many waiting messages one task is right for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

from eventmesh.deployment.model import Deployment, QueueTarget
from eventmesh.engine.spec import FunctionSpec
from eventmesh.model.errors import SettingsError
from eventmesh.model.topology import inbox, rpc_queue
from eventmesh.service import Service
from eventmesh.triggers.http import HttpTrigger
from eventmesh.triggers.queue import QueueTrigger


def queue_targets(
    service: Service, latency: float, duration: float | None
) -> tuple[QueueTarget, ...]:
    """Return the queues of a service, each with the messages that one task is right for.

    A task works off `concurrency` messages every `duration` seconds (Little's law), so that a queue
    of concurrency · latency / duration messages is empty after `latency` seconds. One task is right
    for as many as it runs at once in any case, also where nobody says how long runs take: whoever
    waits takes one slot at most, as in the rule of `eventmesh autoscale`.
    """
    return tuple(chain.from_iterable(_targets(each, latency, duration) for each in service.specs))


def _targets(spec: FunctionSpec, latency: float, duration: float | None) -> Iterator[QueueTarget]:
    name = spec.full_name

    def backlog(batch: int = 1) -> int:
        runs = spec.local_concurrency
        waiting = runs if duration is None else runs * max(latency / duration, 1.0)
        return math.floor(waiting * batch)

    yield QueueTarget(inbox(name).name, name, "inbox", backlog())
    yield QueueTarget(rpc_queue(name, 0).name, name, "rpc", backlog())
    for trigger in spec.triggers:
        if isinstance(trigger, QueueTrigger):
            yield QueueTarget(trigger.name, name, "named", backlog(trigger.batch or 1))


def find_route(service: Service) -> str:
    """Return an HTTP route of a service, whose callers wait in line, as text; "" for none."""
    for spec in service.specs:
        for trigger in spec.triggers:
            if isinstance(trigger, HttpTrigger):
                return f"{spec.full_name} serves {trigger.describe()}"
    return ""


def check_minimum(deployment: Deployment, engine: str) -> None:
    """Refuse no task of a service with routes, on an `engine` that nothing tells who waits.

    `eventmesh autoscale` stands in for such a service, and so keeps its routes and the queue of its
    callers; elsewhere they get FunctionNotFound. Raises SettingsError.
    """
    for each in deployment.services:
        if each.scaling.minimum == 0 and each.scaling.route:
            raise SettingsError(
                f"{each.name} cannot be scaled to zero {engine}: {each.scaling.route}, and nothing "
                f"there starts a task for who waits; write services.{each.name}.minimum=1"
            )
