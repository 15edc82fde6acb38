"""Reads what the rule takes: lengths of queues from the broker, all else from announcements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.model.errors import AccessDenied, BrokerUnavailable
from eventmesh.model.topology import Queue, inbox, named, rpc_queue
from eventmesh.model.value import value
from eventmesh.model.work import NOTHING
from eventmesh.presence import Instance, Observer, WorkMeter
from eventmesh.presence.instance import INTERVAL
from eventmesh.scaling.figures import Counts, FunctionFigures
from eventmesh.scaling.rule import Demand

READ_SECONDS: Final = 5.0
"""Seconds that all lengths of queues together may take to be read."""

AT_ONCE: Final = 8
"""Queues that are asked for at once: each takes a channel of the connection."""

BLIND_SECONDS: Final = INTERVAL + 1.0
"""Seconds after the broker was away in which not every process has told its counts again."""

MAX_WARNINGS: Final = 100

_log: Final = logging.getLogger(__name__)


@value
class ServiceFigures:
    """What is known of a service.

    `instance` is a process of it that ran, the newest that was seen. `idle` are the hosts of those
    that run and do nothing.
    """

    demands: tuple[Demand, ...]
    instance: Instance
    running: int
    idle: frozenset[str]


class MeshReader:
    """Reads the figures of the services of one mesh."""

    def __init__(self, broker: Broker, observer: Observer, clock: Clock) -> None:
        self._broker = broker
        self._observer = observer
        self._clock = clock
        self._meter = WorkMeter()
        self._figures: dict[str, FunctionFigures] = {}
        self._newest: dict[str, Instance] = {}
        self._slots: dict[str, int] = {}
        self._blind_until = -1.0
        self._hidden: set[str] = set()

    async def read(self, services: Iterable[str]) -> Mapping[str, ServiceFigures]:
        """Return the figures of those of these services of which a process was ever seen.

        Raises BrokerUnavailable if they cannot be read now, or processes may be missing.
        """
        now = self._clock.monotonic()
        if not self._broker.ready:
            self._blind_until = now + BLIND_SECONDS
            raise BrokerUnavailable("the broker is away")
        if now < self._blind_until or not self._observer.complete.is_set():
            raise BrokerUnavailable("not all processes have told their counts yet")
        live: dict[str, list[Instance]] = {name: [] for name in services}
        for instance in self._observer.instances.values():
            for name in () if instance.stand_in else instance.services:
                live.setdefault(name, []).append(instance)
        for name, instances in live.items():
            if instances:
                self._newest[name] = max(instances, key=lambda each: each.started)
        return await self._read(live)

    async def _read(self, live: Mapping[str, Sequence[Instance]]) -> dict[str, ServiceFigures]:
        known = {name: self._newest[name] for name in live if name in self._newest}
        queues = {
            function["name"]: _queues_of(function, self._newest[name])
            for name, instance in known.items()
            for function in _functions_of(instance, name)
        }
        lengths = await self._read_lengths([each for some in queues.values() for each in some])
        everyone = [instance for instances in live.values() for instance in instances]
        totals = self._meter.take({each.id: each for each in everyone}.values(), self._clock.now())
        work = dict.fromkeys(queues, NOTHING)
        for (_, function), done in totals.items():
            work[function] = work.get(function, NOTHING).plus(done)
        now = self._clock.monotonic()
        for function, of_function in queues.items():
            instances = live[function.partition(".")[0]]
            waiting = sum(lengths.get(queue.name, 0) for queue in of_function)
            counts = Counts(
                now,
                work[function],
                waiting + sum(each.waiting.get(function, 0) for each in instances),
                sum(each.running.get(function, 0) for each in instances),
            )
            self._figures.setdefault(function, FunctionFigures()).add(counts)
        return {
            name: self._figures_of(name, instance, live[name]) for name, instance in known.items()
        }

    def _figures_of(self, name: str, newest: Instance, live: Sequence[Instance]) -> ServiceFigures:
        demands: list[Demand] = []
        hosts = {each.host for each in live}
        # A replica may run several worker processes, and each has the slots of its functions.
        if hosts:
            self._slots[name] = max(len(live) // len(hosts), 1)
        for function in _functions_of(newest, name):
            figures, limits = self._figures[function["name"]], function["limits"]
            demands.append(
                Demand(
                    function["name"],
                    figures.arriving,
                    figures.duration,
                    figures.latest.waiting,
                    figures.latest.running,
                    _limit(limits, "concurrency", 1) * self._slots.get(name, 1),
                    _limit(limits, "reserved_concurrency", None),
                )
            )
        busy = {
            each.host for each in live if any(each.running.values()) or any(each.waiting.values())
        }
        return ServiceFigures(tuple(demands), newest, len(hosts), frozenset(hosts - busy))

    async def _read_lengths(self, queues: Sequence[Queue]) -> Mapping[str, int]:
        # Looking also keeps the queue in which callers wait while no process consumes it: RabbitMQ
        # deletes one that nobody has declared, consumed or looked at for a while.
        room = asyncio.Semaphore(AT_ONCE)
        lengths: dict[str, int] = {}

        async def read(queue: Queue) -> None:
            async with room:
                try:
                    lengths[queue.name] = await self._broker.depth(queue)
                except AccessDenied as error:
                    self._warn(queue.name, error)

        try:
            with TimeLimit(self._clock, READ_SECONDS):
                await _gather(
                    [read(queue) for queue in {each.name: each for each in queues}.values()]
                )
        except TimeoutError:
            raise BrokerUnavailable(
                f"the lengths of {len(queues)} queues were not read within {READ_SECONDS:g} s"
            ) from None
        return lengths

    def _warn(self, queue: str, error: AccessDenied) -> None:
        if queue not in self._hidden and len(self._hidden) < MAX_WARNINGS:
            self._hidden.add(queue)
            _log.warning("what waits in the queue %r does not count: %s", queue, error)


async def _gather(reads: Sequence[Any]) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for read in reads:
                tasks.create_task(read)
    except ExceptionGroup as group:
        # One reason is enough: the broker is away for all of them.
        raise group.exceptions[0] from None


def _functions_of(instance: Instance, service: str) -> list[Mapping[str, Any]]:
    return [
        function for function in instance.functions if function["name"].partition(".")[0] == service
    ]


def _queues_of(function: Mapping[str, Any], instance: Instance) -> list[Queue]:
    name = function["name"]
    sources = (instance.sources or {}).get(name)
    own = () if sources is None else sources.queues
    return [inbox(name), rpc_queue(name, 0), *map(named, own)]


def _limit(limits: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """Return a limit that another process has announced, if it is one."""
    limit = limits.get(name)
    return limit if isinstance(limit, int) and limit >= 1 else otherwise
