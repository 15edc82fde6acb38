"""Keeps the records of services, and unbinds what no process of a service declares any more."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Final

from eventmesh.abc import Broker
from eventmesh.aio.clock import Clock, TimeLimit, sleep
from eventmesh.aio.tasks import task_group
from eventmesh.leftovers.index import list_service
from eventmesh.leftovers.record import (
    GRACE_SECONDS,
    Record,
    Sources,
    declare,
    dump_record,
    find_unused,
    is_settled,
    load_record,
    lost_bindings,
    mark_unbound,
    may_have_leftovers,
    observe,
)
from eventmesh.model.errors import AccessDenied, EventmeshError
from eventmesh.model.retry import Retry
from eventmesh.model.topology import Binding, inbox, record_name
from eventmesh.presence import AnnouncedSources, Instance
from eventmesh.presence import observe as observe_presence

POLL_SECONDS: Final = 15.0
"""Seconds from one look at who runs to the next, while something may have to be unbound."""

IDLE_SECONDS: Final = 600.0
"""Seconds after which a process looks whether others have left something."""

ASK_SECONDS: Final = 5.0
"""Seconds that asking all processes may take; the lease is held meanwhile."""

_BACKOFF: Final = Retry(initial=1.0, maximum=300.0)

_log: Final = logging.getLogger(__name__)


@asynccontextmanager
async def keep_records(
    broker: Broker,
    clock: Clock,
    instance: Instance,
    grace: float = GRACE_SECONDS,
    *,
    gateways: Collection[str] | None = None,
) -> AsyncGenerator[None]:
    """Keep the records of the services of this process, the `instance`, while entered.

    It must have been announced before: others unbind what no announced process declares. `grace`
    is in seconds. `gateways` are as for `eventmesh.presence.observe`.
    """
    async with task_group() as tasks:
        keepers = [
            tasks.create_task(
                RecordKeeper(broker, clock, instance, service, grace, gateways=gateways).run()
            )
            for service in instance.services
        ]
        try:
            yield
        finally:
            for keeper in keepers:
                keeper.cancel()


class RecordKeeper:
    """Keeps the record of one service, in turns with the other processes that have it.

    The lease is held only to read and write the record, so that nobody waits for it for long. A
    process that starts enters what it declares. If something is bound that is not its own, it asks
    from time to time which processes run, until one of them has unbound that.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        instance: Instance,
        service: str,
        grace: float,
        *,
        gateways: Collection[str] | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._instance = instance
        self._service = service
        self._grace = grace
        self._gateways = gateways
        self._own = sources_of([instance], service)
        self._settled = False
        self._replicas = 1
        self._denied = ""

    async def run(self) -> None:
        """Enter what this process declares, and unbind what nobody does, until cancelled."""
        await self._repeat(self._enter)
        await self._list()
        while True:
            # Together they look as often as one alone would, however many they are.
            pause = IDLE_SECONDS if self._settled or self._denied else POLL_SECONDS
            await sleep(self._clock, pause * self._replicas * random.uniform(0.5, 1.5))  # noqa: S311
            await self._repeat(self._check)

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, and again later whenever it fails."""
        failures = 0
        while True:
            try:
                await work()
            except EventmeshError as error:
                failures += 1
                delay = _BACKOFF.delay(failures)
                self._report(error, delay)
                await sleep(self._clock, delay)
            else:
                return

    def _report(self, error: EventmeshError, delay: float) -> None:
        denied = isinstance(error, AccessDenied) and str(error) != self._denied
        if denied:
            self._denied = str(error)
        _log.log(
            logging.WARNING if denied else logging.INFO,
            "the record of what %s declares is not kept now; next try in %.1f s: %s",
            self._service,
            delay,
            error,
        )

    async def _enter(self) -> None:
        async with self._broker.lease(record_name(self._service)) as lease:
            record = load_record(self._service, lease.state)
            await self._broker.declare([], list(lost_bindings(record, self._own)))
            changed = declare(record, self._own, self._instance.services[self._service])
            if changed != record:
                await lease.save(dump_record(changed))
            self._remember(changed)

    async def _list(self) -> None:
        try:
            await list_service(self._broker, self._clock, self._service)
        except EventmeshError as error:
            # It is for the doctor alone, and the next process tries again.
            _log.info("%s is not in the list of services: %s", self._service, error)

    async def _check(self) -> None:
        """Look for what nobody declares any more, unless another process has just done so."""
        async with self._broker.lease(record_name(self._service)) as lease:
            record = load_record(self._service, lease.state)
            now = self._clock.now()
            if may_have_leftovers(record, self._own) and not (
                0 <= now - record.checked < POLL_SECONDS / 2
            ):
                running = await self._ask()
                if running is not None:
                    record = observe(record, sources_of(running, self._service), now, len(running))
                    record = await self._unbind(record, sources_of(running, self._service))
                    await lease.save(dump_record(record))
            self._remember(record)

    def _remember(self, record: Record) -> None:
        self._settled = is_settled(record, self._own)
        self._replicas = record.replicas

    async def _ask(self) -> Sequence[Instance] | None:
        """Return the processes that have this service; None if they cannot be known now."""
        try:
            async with observe_presence(
                self._broker, self._clock, lambda _: None, self._gateways
            ) as observer:
                with TimeLimit(self._clock, ASK_SECONDS):
                    await observer.complete.wait()
                instances = list(observer.instances.values())
        except TimeoutError:
            return None
        running = [each for each in instances if self._service in each.services]
        # Whoever does not hear itself does not hear others either. And what a process of an
        # earlier version declares, which does not say, may be anything.
        heard = {each.id for each in instances}
        if self._instance.id not in heard or any(each.sources is None for each in running):
            return None
        return running

    async def _unbind(self, record: Record, running: Sources) -> Record:
        now = self._clock.now()
        for name, pattern in list(find_unused(record, running, self._grace)):
            known = record.functions[name]
            kept = {*known.patterns} - {pattern}
            try:
                await self._broker.unbind(
                    [Binding(inbox(name), pattern)], [Binding(inbox(name), each) for each in kept]
                )
            except AccessDenied as error:
                self._deny(name, pattern, error)
                continue
            if pattern in known.patterns:
                _log.info(
                    "%s no longer gets %r: unbound, for no running process declares it",
                    name,
                    pattern,
                )
            record = mark_unbound(record, name, pattern, now)
        return record

    def _deny(self, name: str, pattern: str, error: AccessDenied) -> None:
        if str(error) == self._denied:
            return
        self._denied = str(error)
        _log.warning(
            "%s still gets %r, which no process declares any more: the user may not unbind it. "
            "Grant what the earlier version had until it is unbound, or have an administrator run "
            "'eventmesh prune %s': %s",
            name,
            pattern,
            name,
            error,
        )


def sources_of(instances: Sequence[Instance], service: str) -> dict[str, AnnouncedSources]:
    """Return what leads to each function of a service, in all these processes together."""
    found: dict[str, AnnouncedSources] = {}
    for instance in instances:
        for name, sources in (instance.sources or {}).items():
            if name.partition(".")[0] != service:
                continue
            known = found.get(name, AnnouncedSources())
            found[name] = AnnouncedSources(
                _join(known.patterns, sources.patterns), _join(known.queues, sources.queues)
            )
    return found


def _join(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))
