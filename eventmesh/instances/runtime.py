"""Runs functions in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from itertools import count
from typing import Final, Self

from eventmesh.abc import Handler
from eventmesh.aio.tasks import background_task, task_group
from eventmesh.engine.function import AnyFunction, require_python
from eventmesh.engine.runtimes.registry import INLINE, THREAD, load_runtime
from eventmesh.engine.spec import Environment, FunctionSpec, Implementation
from eventmesh.instances.calls import Calls
from eventmesh.instances.instance import STOP_TIMEOUT, Instance, State
from eventmesh.instances.memory.abc import MemoryGroup, MemoryLimiter
from eventmesh.instances.memory.choose import choose_limiter
from eventmesh.instances.output import Lines
from eventmesh.instances.pool import NotStarted, Pool
from eventmesh.instances.users import choose_user
from eventmesh.instances.wire.frames import MAX_FROM_INSTANCE, Frames
from eventmesh.instances.zygote.client import Exit, Order, Zygote
from eventmesh.model.invocation import Invocation
from eventmesh.model.isolation import Isolation
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)


class ProcessRuntime:
    """Runs handlers in instances: processes that are forked from one which has imported the code.

    One zygote serves all functions of a host. It lives from the first function that is opened to
    the last one that is closed.
    """

    def __init__(self) -> None:
        self._shared: _Shared | None = None
        self._opened = 0

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        isolation = python.spec.isolation
        if isolation is None or not environment.isolate:
            inner = load_runtime(INLINE if python.signature.is_async else THREAD)
            async with inner.open(function, environment) as handler:
                yield handler
            return
        shared = self._shared = self._shared or _Shared()
        self._opened += 1
        try:
            await shared.zygote.load(python)
            async with _open_pool(shared, python, isolation, environment) as pool:
                yield _build_handler(pool)
        finally:
            self._opened -= 1
            if self._opened == 0:
                self._shared = None
                await shared.close()


class _Shared:
    """What all functions of a host share: the zygote, and how memory is limited."""

    def __init__(self) -> None:
        self.zygote = Zygote()
        self.limiter: MemoryLimiter = choose_limiter()
        self.numbers = count(1)

    async def close(self) -> None:
        await self.zygote.close()
        await self.limiter.close()


@asynccontextmanager
async def _open_pool(
    shared: _Shared, python: AnyFunction, isolation: Isolation, environment: Environment
) -> AsyncGenerator[Pool]:
    async with task_group() as tasks:
        starter = _Starter(shared, python, isolation, environment, tasks)
        pool = Pool(python.spec, isolation, environment.clock, tasks, starter.start)
        _add_gauges(pool, python.spec, environment)
        try:
            async with background_task(pool.keep_provisioned()):
                yield pool
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
    """Forks the instances of one function, and connects them."""

    def __init__(
        self,
        shared: _Shared,
        python: AnyFunction,
        isolation: Isolation,
        environment: Environment,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._shared = shared
        self._spec = python.spec
        self._isolation = isolation
        self._environment = environment
        self._tasks = tasks
        self._user = choose_user(python)
        self._calls = Calls(python.spec, environment.transport, environment.clock)
        if isolation.memory is not None:
            name = shared.limiter.name
            _log.info("the memory of %s is limited by: %s", python.full_name, name)

    async def start(self, on_change: Callable[[Instance], None]) -> Instance:
        """Fork an instance. Raises OSError and ZygoteLost."""
        name = f"{self._spec.full_name}.{next(self._shared.numbers)}"
        group = self._shared.limiter.open(name, self._isolation.memory, self._tasks)
        try:
            return await self._fork(group, on_change)
        except BaseException:
            await group.close()
            raise

    async def _fork(self, group: MemoryGroup, on_change: Callable[[Instance], None]) -> Instance:
        environment, zygote = self._environment, self._shared.zygote
        instance = Instance(
            self._spec,
            clock=environment.clock,
            calls=self._calls,
            group=group,
            tasks=self._tasks,
            abandon=environment.abandon,
            on_change=on_change,
        )
        async with _Ends() as ends:
            outputs = await ends.connect(instance)
            closed = asyncio.gather(*(lines.closed for lines in outputs))

            def on_exit(ended: Exit) -> None:
                instance.take_exit(ended, closed)

            level = logging.getLogger().getEffectiveLevel()
            order = Order(self._spec.full_name, group.procs, self._user, level)
            instance.pid = await zygote.fork(order, ends.theirs, on_exit)
            ends.keep()
        instance.kill_process = lambda: zygote.kill(instance.pid)
        group.watch(instance.pid, instance.kill)
        return instance


class _Ends:
    """The socket and the pipes of a new instance: our ends are kept once it has been forked."""

    def __init__(self) -> None:
        self._ours = AsyncExitStack()
        self.theirs: list[int] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for descriptor in self.theirs:
            os.close(descriptor)
        await self._ours.aclose()

    def keep(self) -> None:
        self._ours.pop_all()

    async def connect(self, instance: Instance) -> list[Lines]:
        """Open the three pairs, and connect our ends to the instance."""
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self.theirs.append(theirs.detach())
        _, frames = await loop.create_connection(
            lambda: Frames(instance.take_frame, instance.take_close, MAX_FROM_INSTANCE), sock=ours
        )
        self._ours.callback(frames.close)
        instance.connect(frames)
        outputs: list[Lines] = []
        for take in (instance.output.take_line, instance.output.take_record):
            read, write = os.pipe()
            self.theirs.append(write)
            pipe = os.fdopen(read, "rb", buffering=0)
            _, lines = await loop.connect_read_pipe(partial(Lines, take), pipe)
            self._ours.callback(lines.close)
            outputs.append(lines)
        return outputs
