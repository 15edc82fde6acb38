"""Examines a mesh and reports what is wrong with it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from eventmesh.abc import Broker, BrokerInspector
from eventmesh.aio.clock import SystemClock
from eventmesh.brokers.registry import check_shared, find_adapter
from eventmesh.client.mesh import open_mesh
from eventmesh.doctor.checks import (
    ExpectedQueue,
    Finding,
    QueueState,
    check_alarm,
    check_delays,
    check_queues,
    check_server,
    report_hidden,
)
from eventmesh.doctor.leftovers import check_leftovers, not_readable
from eventmesh.doctor.report import Report
from eventmesh.leftovers.index import read_services
from eventmesh.leftovers.record import read_record
from eventmesh.leftovers.survey import Survey, survey_service
from eventmesh.model.broker import BrokerCommands
from eventmesh.model.errors import AccessDenied, BrokerUnavailable
from eventmesh.model.topology import SERVICES, dead_letters, inbox, record_name, rpc_queue
from eventmesh.presence import Instance, Observer
from eventmesh.presence.answers import check_accepting
from eventmesh.service import Service
from eventmesh.triggers.queue import QueueTrigger

CONFIRM_SECONDS: Final = 2.0
"""Seconds after which a problem is looked at again: processes start and stop all the time."""


async def inspect_mesh(url: str, services: Sequence[Service], wait: float) -> Report:
    """Examine the broker at a URL, and the functions of these services and of running processes.

    Processes have `wait` seconds to answer. Raises SettingsError, AccessDenied, and
    BrokerUnavailable if the broker cannot be reached.
    """
    check_shared(url)
    async with find_adapter(url).inspect(url, "eventmesh doctor") as inspector:
        info = await inspector.server()
        server = list(check_server(info))
        async with open_mesh(url, "doctor") as (broker, observer):
            await asyncio.sleep(wait)
            refusal = await _refusal_reason(broker)
            alarm = check_alarm(refusal)
            if refusal:
                # No process can answer, so every consumer would seem to be a foreign one.
                return Report([*server, alarm])
            queues, hidden = await _check_queues(inspector, observer, services, info.commands)
            if any(finding.level == "problem" for finding in queues):
                await asyncio.sleep(CONFIRM_SECONDS)
                queues, hidden = await _check_queues(inspector, observer, services, info.commands)
            delays = check_delays(await inspector.lost(), info.commands)
            left, records = await _check_leftovers(
                broker, inspector, observer, services, info.commands
            )
    return Report([*server, alarm, delays, *queues, *left, *report_hidden(hidden, records)])


async def _refusal_reason(broker: Broker) -> str:
    """Return why the broker takes no messages; "" if it takes them."""
    try:
        await check_accepting(broker)
    except BrokerUnavailable as error:
        return str(error)
    return ""


async def _check_queues(
    inspector: BrokerInspector,
    observer: Observer,
    services: Sequence[Service],
    commands: BrokerCommands,
) -> tuple[list[Finding], list[str]]:
    """Return what was found, and the names of the queues that the user may not see."""
    instances = list(observer.instances.values())
    processes = Counter(
        function["name"]
        for instance in instances
        if not instance.stand_in
        for function in instance.functions
    )
    states: list[QueueState] = []
    hidden: list[str] = []
    for expected in expected_queues(services, instances):
        try:
            found = await inspector.describe(expected.queue)
        except AccessDenied:
            hidden.append(expected.queue.name)
        else:
            states.append(QueueState(expected, found, processes[expected.function]))
    return list(check_queues(states, commands)), hidden


async def _check_leftovers(
    broker: Broker,
    inspector: BrokerInspector,
    observer: Observer,
    services: Sequence[Service],
    commands: BrokerCommands,
) -> tuple[list[Finding], list[str]]:
    """Check what the records of all services name, and nothing runs any more.

    Returns what was found, and the names of what the user may not read.
    """
    clock = SystemClock()
    instances = list(observer.instances.values())
    declared = {function.full_name for service in services for function in service.specs}
    surveys: list[Survey] = []
    hidden: list[str] = []
    try:
        for name in sorted(await read_services(broker, inspector, clock)):
            try:
                record = await read_record(broker, inspector, clock, name)
                surveys.append(await survey_service(inspector, record, name, instances))
            except AccessDenied:
                hidden.append(record_name(name))
    except AccessDenied:
        hidden.append(SERVICES)
    except BrokerUnavailable as error:
        # Of a cluster of which a part is away, the rest of the report is all the more wanted.
        return [not_readable(error)], hidden
    found = check_leftovers(surveys, declared, clock.now(), commands, complete=not hidden)
    return list(found), hidden


def expected_queues(
    services: Sequence[Service], instances: Sequence[Instance]
) -> Iterator[ExpectedQueue]:
    """Yield the queues of the services' functions, and of those that the instances serve."""
    max_pending = dict(_announced_limits(instances))
    functions = [function for service in services for function in service.specs]
    max_pending |= {function.full_name: function.limits.max_pending for function in functions}
    for name, limit in max_pending.items():
        yield ExpectedQueue(inbox(name), name, "inbox")
        yield ExpectedQueue(rpc_queue(name, limit), name, "rpc")
        yield ExpectedQueue(dead_letters(name), name, "dead letters")
    for function in functions:
        for trigger in function.triggers:
            if isinstance(trigger, QueueTrigger):
                yield ExpectedQueue(trigger.queue, function.full_name, "source")


def _announced_limits(instances: Sequence[Instance]) -> Iterator[tuple[str, int]]:
    """Yield the functions that are served, each with its `max_pending`."""
    for instance in instances:
        for function in instance.functions:
            yield function["name"], function["limits"]["max_pending"]
