"""Removes what is left at a broker of functions that no process has.

Nothing is lost if it is interrupted: each invocation that is moved is stored before it is
acknowledged, a queue is deleted last, and the record names a function until all of it is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Final

from eventmesh.abc import Broker, BrokerInspector, Delivery, Lease
from eventmesh.aio.clock import Clock, TimeLimit
from eventmesh.engine.codecs.trust import Believe, believe_as
from eventmesh.engine.upkeep.leftovers import Fate, Remains, Removed
from eventmesh.leftovers.index import forget_service, read_services
from eventmesh.leftovers.record import (
    GRACE_SECONDS,
    LEASE_SECONDS,
    FunctionRecord,
    Record,
    dump_record,
    load_record,
    mark_unbound,
    read_record,
)
from eventmesh.leftovers.survey import find_remains, running_functions
from eventmesh.model.errors import (
    BrokerUnavailable,
    DeclarationError,
    FunctionNotFound,
    InvocationError,
    consumed,
)
from eventmesh.model.topology import (
    Binding,
    Queue,
    Route,
    check_function,
    check_service,
    dead_letters,
    inbox,
    lease_name,
    named,
    record_name,
    rpc_queue,
    slots_name,
    to_function,
)
from eventmesh.presence import Instance

MOVED_AT_ONCE: Final = 64
"""Invocations that are taken from an inbox and not yet stored in another one."""


class Pruner:
    """Finds and removes what is left; `list_instances` returns the processes that run.

    See `LeftoverAccess`.
    """

    def __init__(
        self,
        broker: Broker,
        inspector: BrokerInspector,
        clock: Clock,
        list_instances: Callable[[], Sequence[Instance]],
        gateways: Collection[str] | None = None,
    ) -> None:
        """With `gateways`, what is moved has only what they believe of its sender.

        They are the users of gateways where each service has a user of the broker.
        """
        self._gateways = gateways
        self._broker = broker
        self._inspector = inspector
        self._clock = clock
        self._list_instances = list_instances

    async def find(self, name: str = "") -> Sequence[Remains]:
        """As in the port."""
        if "." in name:
            return [await self._find_function(check_function(name))]
        if not name:
            services = sorted(await read_services(self._broker, self._inspector, self._clock))
            running = [each for each in services if self._runs(each)]
            return [remains for each in running for remains in await self._find_in(each)]
        if not (found := await self._find_in(check_service(name))):
            if self._runs(name):
                return found
            raise FunctionNotFound(
                name, "no record names a function of it of which anything is left"
            )
        return found

    async def _find_function(self, name: str) -> Remains:
        record = await self._read(name.partition(".")[0])
        self._check_unused(name, record)
        remains = await find_remains(self._inspector, name, record.functions.get(name))
        if remains.is_empty and name not in record.functions:
            raise FunctionNotFound(name, "nothing is left of it")
        return remains

    async def _find_in(self, service: str) -> list[Remains]:
        record = await self._read(service)
        return [
            await find_remains(self._inspector, name, known)
            for name, known in record.functions.items()
            if not self._why_used(name, record)
        ]

    async def _read(self, service: str) -> Record:
        return await read_record(self._broker, self._inspector, self._clock, service)

    def _runs(self, service: str) -> bool:
        return any(service in each.services for each in self._list_instances())

    def _check_unused(self, name: str, record: Record) -> None:
        if why := self._why_used(name, record):
            raise DeclarationError(f"{name} is not removed: {why}")

    def _why_used(self, name: str, record: Record) -> str:
        """Return why a function may not be removed; "" if it may."""
        instances = self._list_instances()
        if name in running_functions(instances):
            count = sum(name in running_functions([each]) for each in instances)
            has = "a process has it" if count == 1 else f"{count} processes have it"
            return f"{has}; 'eventmesh ps' shows who"
        known = record.functions.get(name)
        if known is None or not self._runs(name.partition(".")[0]):
            return ""
        if not known.gone or self._clock.now() - known.gone < GRACE_SECONDS:
            return (
                "a process had it until a moment ago, and others of its service run: wait until "
                "one of them has noted that it is gone, a minute or two"
            )
        return ""

    async def remove(self, name: str, fate: Fate) -> Removed:
        """As in the port."""
        service = name.partition(".")[0]
        async with AsyncExitStack() as stack:
            lease = await self._take_record(service, stack)
            record = load_record(service, lease.state)
            self._check_unused(name, record)
            await self._check_fate(name, fate)
            record = await self._unbind(name, record, lease)
            moved = await self._move(name, fate.move_to) if fate.move_to else 0
            await self._check_fate(name, replace(fate, move_to=""))
            dropped = await self._broker.delete(inbox(name))
            for queue in (rpc_queue(name, 0), named(f"{slots_name(name)}.lease")):
                await self._broker.delete(queue)
            dead, kept = await self._delete_dead_letters(name, fate)
            functions = {each: one for each, one in record.functions.items() if each != name}
            if kept:
                gone = record.functions.get(name, FunctionRecord()).gone or self._clock.now()
                functions[name] = FunctionRecord(gone=gone)
            await lease.save(dump_record(replace(record, functions=functions)))
        if not functions and not self._runs(service):
            await self._forget(service)
        return Removed(moved, dropped, dead, kept)

    async def _take_record(self, service: str, stack: AsyncExitStack) -> Lease:
        name = record_name(service)
        try:
            with TimeLimit(self._clock, LEASE_SECONDS):
                return await stack.enter_async_context(self._broker.lease(name))
        except TimeoutError:
            raise BrokerUnavailable(
                f"the record {name!r} was in use for {LEASE_SECONDS:g} s: try again"
            ) from None

    async def _check_fate(self, name: str, fate: Fate) -> None:
        """Raise unless nobody consumes the inbox, and it is said what becomes of what is in it."""
        found = await self._inspector.describe(named(inbox(name).name, declare=False))
        if found is None:
            return
        if found.consumers:
            raise consumed(inbox(name).name, found.consumers)
        if fate.move_to:
            await self._check_target(name, fate.move_to)
        elif found.messages and not fate.drop:
            raise DeclarationError(
                f"{name} is not removed: {found.messages:,} of its invocations wait; say where to "
                "move them, or that they are to be dropped"
            )

    async def _check_target(self, name: str, to: str) -> None:
        if to == name:
            raise DeclarationError(f"what waits for {name} cannot be moved to itself")
        target = inbox(check_function(to))
        if await self._inspector.describe(named(target.name, declare=False)) is None:
            raise FunctionNotFound(to, "it has no inbox: start its service first")

    async def _unbind(self, name: str, record: Record, lease: Lease) -> Record:
        known = record.functions.get(name)
        if known is None:
            return record
        # Noted first: a process that is being started finds that its bindings were removed.
        patterns = [*known.patterns, *known.unbound]
        for pattern in known.patterns:
            record = mark_unbound(record, name, pattern, self._clock.now())
        await lease.save(dump_record(record))
        await self._broker.unbind([Binding(inbox(name), each) for each in patterns])
        return record

    async def _delete_dead_letters(self, name: str, fate: Fate) -> tuple[int, int]:
        """Return how many were dropped, and how many are kept."""
        queue = dead_letters(name)
        waiting = await self._broker.depth(queue)
        if waiting and not fate.dead_letters:
            return 0, waiting
        return await self._broker.delete(queue), 0

    async def _forget(self, service: str) -> None:
        """Remove what is left of a service without functions, which does not run."""
        try:
            for lease in (lease_name(service), record_name(service)):
                await self._broker.delete(named(lease))
        except DeclarationError:
            return  # It is started at this moment.
        await forget_service(self._broker, self._clock, service)

    async def _move(self, name: str, to: str) -> int:
        """Move what waits in an inbox, and return how much that was."""
        queue, route = inbox(name), to_function(to)
        believe = believe_as(name.partition(".")[0], self._gateways)
        moved = 0
        while True:
            taken = await self._take(queue)
            if not taken and not await self._broker.depth(queue):
                return moved
            async with asyncio.TaskGroup() as tasks:
                moves = [tasks.create_task(self._move_one(each, route, believe)) for each in taken]
            for move in moves:
                if (error := move.result()) is not None:
                    raise error
            moved += len(taken)

    async def _take(self, queue: Queue) -> Sequence[Delivery]:
        taken: list[Delivery] = []
        try:
            while len(taken) < MOVED_AT_ONCE:
                delivery = await self._broker.get(queue)
                if delivery is None:
                    break
                taken.append(delivery)
        except BaseException:
            for delivery in taken:
                delivery.requeue()
            raise
        return taken

    async def _move_one(
        self, delivery: Delivery, route: Route, believe: Believe | None
    ) -> InvocationError | None:
        message = delivery.message
        try:
            await self._broker.publish(route, message if believe is None else believe(message))
        except InvocationError as error:
            delivery.requeue()
            return error
        delivery.ack()
        return None
