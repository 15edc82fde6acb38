"""What makes instances: the process they are forked from, memory groups, sockets and pipes."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from typing import Any, Final, Protocol, Self

from eventmesh.abc import Handler
from eventmesh.aio.tasks import background_task, task_group
from eventmesh.engine.spec import Environment, FunctionSpec
from eventmesh.instances.lifecycle import STOP_TIMEOUT, Instance, State, Surroundings
from eventmesh.instances.memory.abc import MemoryLimiter
from eventmesh.instances.memory.choose import choose_limiter
from eventmesh.instances.output import Lines
from eventmesh.instances.pool import NotStarted, Pool
from eventmesh.instances.zygote.client import Exit, Zygote
from eventmesh.model.errors import DeclarationError
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)


class Forks(Protocol):
    """Forks one kind of instance."""

    def make(self, around: Surroundings) -> Instance:
        """Return an instance that has no process yet."""
        ...

    async def fork(
        self, instance: Instance, procs: str, ends: Ends, on_exit: Callable[[Exit], None]
    ) -> int:
        """Connect it, and fork its process into the memory group of `procs`. Returns its number.

        Raises OSError and ZygoteLost.
        """
        ...


class Workshop:
    """What all functions of a host that run in instances share."""

    def __init__(self) -> None:
        self.zygote = Zygote()
        self.limiter: MemoryLimiter = choose_limiter()
        self.numbers = count(1)

    async def close(self) -> None:
        await self.zygote.close()
        await self.limiter.close()


class SharedWorkshop:
    """A workshop that is there while any function uses it."""

    def __init__(self) -> None:
        self._workshop: Workshop | None = None
        self._users = 0

    @asynccontextmanager
    async def use(self) -> AsyncGenerator[Workshop]:
        workshop = self._workshop = self._workshop or Workshop()
        self._users += 1
        try:
            yield workshop
        finally:
            self._users -= 1
            if self._users == 0:
                self._workshop = None
                await workshop.close()


@asynccontextmanager
async def open_pool(
    workshop: Workshop, spec: FunctionSpec, environment: Environment, forks: Forks
) -> AsyncGenerator[Handler]:
    """Keep a pool of instances while entered, and yield the handler that runs on them.

    Raises DeclarationError for a function that is not isolated.
    """
    isolation = spec.isolation
    if isolation is None:
        raise DeclarationError(f"{spec.full_name} runs in its service: write isolation='process'")
    async with task_group() as tasks:
        starter = _Starter(workshop, spec, environment, tasks, forks)
        pool = Pool(spec, isolation, environment.clock, tasks, starter.start)
        _add_gauges(pool, spec, environment)
        try:
            async with background_task(pool.keep_provisioned()):
                yield _build_handler(pool)
        finally:
            await pool.close(STOP_TIMEOUT + 1.0)


def _build_handler(pool: Pool) -> Handler:
    async def handle(invocation: Invocation) -> Result:
        while True:
            try:
                instance = await pool.acquire()
            except NotStarted as error:
                return Result(b"", error=error.failure)
            if instance.state is State.READY:
                return await instance.run(invocation)
            instance.cancel_reservation()  # It ended in the moment before.

    return handle


def _add_gauges(pool: Pool, spec: FunctionSpec, environment: Environment) -> None:
    name, gauge = spec.full_name, environment.gauge
    gauge("instances", name, lambda: len(pool))
    gauge("instance_starts_total", name, lambda: pool.starts)
    gauge("instance_out_of_memory_total", name, lambda: pool.exceeded)
    gauge("instance_memory_peak_bytes", name, lambda: pool.peak)


class _Starter:
    """Starts the instances of one function."""

    def __init__(
        self,
        workshop: Workshop,
        spec: FunctionSpec,
        environment: Environment,
        tasks: asyncio.TaskGroup,
        forks: Forks,
    ) -> None:
        self._workshop = workshop
        self._spec = spec
        self._memory = None if spec.isolation is None else spec.isolation.memory
        self._environment = environment
        self._tasks = tasks
        self._forks = forks
        if self._memory is not None:
            name = workshop.limiter.name
            _log.info("the memory of %s is limited by: %s", spec.full_name, name)

    async def start(self, on_change: Callable[[Instance], None]) -> Instance:
        """Start an instance. Raises OSError and ZygoteLost."""
        workshop, environment = self._workshop, self._environment
        name = f"{self._spec.full_name}.{next(workshop.numbers)}"
        group = workshop.limiter.open(name, self._memory, self._tasks)
        around = Surroundings(
            clock=environment.clock,
            group=group,
            tasks=self._tasks,
            abandon=environment.abandon,
            on_change=on_change,
        )
        try:
            instance = self._forks.make(around)
            await self._fork(instance, group.procs)
        except BaseException:
            await group.close()
            raise
        group.watch(instance.pid, instance.kill)
        return instance

    async def _fork(self, instance: Instance, procs: str) -> None:
        zygote = self._workshop.zygote
        async with Ends() as ends:

            def on_exit(ended: Exit) -> None:
                instance.take_exit(ended, ends.closed)

            instance.pid = await self._forks.fork(instance, procs, ends, on_exit)
            ends.keep()
        instance.kill_process = lambda: zygote.kill(instance.pid)
        instance.terminate_process = lambda: zygote.terminate(instance.pid)


class Ends:
    """The descriptors of a new instance: our ends are kept once it has been forked."""

    def __init__(self) -> None:
        self._ours = AsyncExitStack()
        self.theirs: list[int] = []
        self._pipes: list[Lines] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for descriptor in self.theirs:
            os.close(descriptor)
        await self._ours.aclose()

    @property
    def closed(self) -> asyncio.Future[Any]:
        """Is done when all that the instance wrote has been read."""
        return asyncio.gather(*(pipe.closed for pipe in self._pipes))

    def keep(self) -> None:
        self._ours.pop_all()

    def on_failure(self, close: Callable[[], object]) -> None:
        """Call this unless the instance is forked."""
        self._ours.callback(close)

    async def add_pipe(self, take: Callable[[bytes], None]) -> Lines:
        """Add a pipe to theirs, whose lines are given to `take`. Returns what reads it."""
        read, write = os.pipe()
        self.theirs.append(write)
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(read, "rb", buffering=0)
        _, lines = await loop.connect_read_pipe(partial(Lines, take), pipe)
        self._ours.callback(lines.close)
        self._pipes.append(lines)
        return lines
