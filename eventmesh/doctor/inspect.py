"""Looking at a mesh for what is wrong with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from eventmesh.abc import Broker, BrokerInspector
from eventmesh.brokers.registry import check_shared, find_adapter
from eventmesh.client.mesh import check_accepting, open_mesh
from eventmesh.doctor.checks import (
    ExpectedQueue,
    Finding,
    QueueState,
    alarm_finding,
    delay_finding,
    queue_findings,
    server_findings,
)
from eventmesh.model.broker import BrokerCommands
from eventmesh.model.errors import BrokerUnavailable
from eventmesh.model.topology import dead_letters, inbox, rpc_queue
from eventmesh.presence import Instance, Observer
from eventmesh.service import Service
from eventmesh.triggers.queue import QueueTrigger

AGAIN_SECONDS: Final = 2.0
"""After which what looks wrong is looked at once more: processes start and stop all the time."""


async def examine(url: str, services: Sequence[Service], wait: float) -> list[Finding]:
    """Look at the broker at a URL, at the functions of these services and at those that run.

    `wait` is how many seconds processes have to answer. Raises SettingsError, AccessDenied, and
    BrokerUnavailable if the broker cannot be reached.
    """
    check_shared(url)
    async with find_adapter(url).inspect(url, "eventmesh doctor") as inspector:
        info = await inspector.server()
        server = list(server_findings(info))
        async with open_mesh(url, "doctor") as (broker, observer):
            await asyncio.sleep(wait)
            trouble = await _trouble(broker)
            alarm = alarm_finding(trouble)
            if trouble:
                # No process can answer: all that is consumed would seem to be so by strangers.
                return [*server, alarm]
            queues = await _queues(inspector, observer, services, info.commands)
            if any(finding.level == "problem" for finding in queues):
                await asyncio.sleep(AGAIN_SECONDS)
                queues = await _queues(inspector, observer, services, info.commands)
            delays = delay_finding(await inspector.lost(), info.commands)
    return [*server, alarm, delays, *queues]


async def _trouble(broker: Broker) -> str:
    """Why the broker takes no messages; empty if it does."""
    try:
        await check_accepting(broker)
    except BrokerUnavailable as error:
        return str(error)
    return ""


async def _queues(
    inspector: BrokerInspector,
    observer: Observer,
    services: Sequence[Service],
    commands: BrokerCommands,
) -> list[Finding]:
    instances = list(observer.instances.values())
    processes = Counter(
        function["name"] for instance in instances for function in instance.functions
    )
    seen = [
        QueueState(expected, await inspector.describe(expected.queue), processes[expected.function])
        for expected in expected_queues(services, instances)
    ]
    return list(queue_findings(seen, commands))


def expected_queues(
    services: Sequence[Service], instances: Sequence[Instance]
) -> Iterator[ExpectedQueue]:
    """The queues of the services' functions, and of those that the instances serve."""
    lines = dict(_announced(instances))
    functions = [function for service in services for function in service.specs]
    lines |= {function.full_name: function.limits.max_pending for function in functions}
    for name, length in lines.items():
        yield ExpectedQueue(inbox(name), name, "inbox")
        yield ExpectedQueue(rpc_queue(name, length), name, "rpc")
        yield ExpectedQueue(dead_letters(name), name, "dead letters")
    for function in functions:
        for trigger in function.triggers:
            if isinstance(trigger, QueueTrigger):
                yield ExpectedQueue(trigger.queue, function.full_name, "source")


def _announced(instances: Sequence[Instance]) -> Iterator[tuple[str, int]]:
    """The functions that are served, and how long their lines are."""
    for instance in instances:
        for function in instance.functions:
            yield function["name"], function["limits"]["max_pending"]
