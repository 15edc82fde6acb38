"""Announces services of which no process runs, so that they can be called, and are then started."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock
from eventmesh.aio.tasks import task_group
from eventmesh.model.errors import EventmeshError
from eventmesh.model.ids import new_id
from eventmesh.presence import Instance, Observer, announce

_log: Final = logging.getLogger(__name__)


class StandIns:
    """The services that this process stands in for, each by an announcement of its own.

    A gateway so keeps their routes, and `ctx.invoke` their functions. What comes waits in their
    queues, which the reader keeps by looking at them.
    """

    def __init__(
        self, broker: Broker, observer: Observer, clock: Clock, tasks: asyncio.TaskGroup
    ) -> None:
        self._broker = broker
        self._observer = observer
        self._clock = clock
        self._tasks = tasks
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}

    @property
    def services(self) -> Collection[str]:
        """The services that it stands in for now."""
        return self._running.keys()

    def begin(self, service: str, instance: Instance) -> bool:
        """Stand in for a service as `instance` announced it; return whether others know it."""
        if service not in self._running:
            told = _stand_in(service, instance)
            task = self._tasks.create_task(self._announce(service, told))
            self._running[service] = (told.id, task)
        id = self._running[service][0]
        return any(each.id == id for each in self._observer.instances.values())

    def end(self, service: str) -> None:
        """Stand in for the service no longer: a process of it runs."""
        known = self._running.pop(service, None)
        if known is not None:
            known[1].cancel()

    async def _announce(self, service: str, told: Instance) -> None:
        try:
            async with announce(self._broker, self._clock, lambda: told):
                await asyncio.get_running_loop().create_future()
        except EventmeshError as error:
            # It is begun again at the next look at the service.
            _log.warning("nothing stands in for %s: %s", service, error)
            if self._running.get(service, ("",))[0] == told.id:
                del self._running[service]


@asynccontextmanager
async def stand_in_for(
    broker: Broker, observer: Observer, clock: Clock
) -> AsyncGenerator[StandIns]:
    """Yield what stands in for services while entered; leaving says goodbye for all of them."""
    async with task_group() as tasks:
        stand_ins = StandIns(broker, observer, clock, tasks)
        try:
            yield stand_ins
        finally:
            for service in list(stand_ins.services):
                stand_ins.end(service)


def _stand_in(service: str, instance: Instance) -> Instance:
    """Return the announcement, for one service, of a process that does nothing."""
    prefix = f"{service}."
    return replace(
        instance,
        id=new_id()[:12],
        host=socket.gethostname(),
        pid=0,
        services={service: instance.services[service]},
        functions=[each for each in instance.functions if each["name"].startswith(prefix)],
        endpoints=[each for each in instance.endpoints if each.function.startswith(prefix)],
        sources={
            name: each for name, each in (instance.sources or {}).items() if name.startswith(prefix)
        },
        running={},
        waiting={},
        work={},
        stand_in=True,
    )
