"""The instances of one function in one process of its service: started, kept, and ended."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from eventmesh.aio.clock import Clock, SharedTimer, sleep
from eventmesh.engine.spec import FunctionSpec
from eventmesh.instances.failures import start_error
from eventmesh.instances.lifecycle import Instance, State
from eventmesh.instances.zygote.client import ZygoteLost
from eventmesh.model.limits import Isolation
from eventmesh.model.result import Failure

_log: Final = logging.getLogger(__name__)

_BACKOFF: Final = (0.1, 30.0)
"""Seconds before a kept instance is started again that failed to start: the first time, at most."""

Start: TypeAlias = Callable[[Callable[[Instance], None]], Awaitable[Instance]]
"""Forks an instance, which calls what it is given whenever it changes."""


class NotStarted(Exception):
    """No instance could be started; `failure` is the error of the invocation that waited."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure


class Pool:
    """Lends instances to runs.

    There are never more than `isolation.instances`, with those that are about to end. Runs beyond
    what they can take wait; the limiter lets in no more than that, so that they wait only for one
    that starts or ends.
    """

    def __init__(
        self,
        spec: FunctionSpec,
        isolation: Isolation,
        clock: Clock,
        tasks: asyncio.TaskGroup,
        start: Start,
    ) -> None:
        self.starts = 0
        self.exceeded = 0
        self.peak = 0
        self._spec = spec
        self._isolation = isolation
        self._clock = clock
        self._tasks = tasks
        self._start = start
        self._places = spec.instance_concurrency
        self._instances: list[Instance] = []
        """Those that ran last are at the end, and are taken first: the others become idle."""
        self._forking = 0
        self._waiting: deque[asyncio.Future[Instance]] = deque()
        self._idle: SharedTimer[Instance] = SharedTimer(clock, self._end_idle)
        self._changed = asyncio.Event()
        self._failed = False
        self._closing = False

    def __len__(self) -> int:
        return len(self._instances) + self._forking

    async def acquire(self) -> Instance:
        """Return an instance that is ready for one more run, for which a place is reserved.

        Raises NotStarted for the run that an instance which could not start was started for.
        """
        for instance in reversed(self._instances):
            if self._is_free(instance):
                self._idle.remove(instance)
                instance.reserve()
                return instance
        waiting: asyncio.Future[Instance] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self._start_more()
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            elif waiting.done() and not waiting.cancelled() and waiting.exception() is None:
                waiting.result().cancel_reservation()
            raise

    async def keep_provisioned(self) -> None:
        """Start the instances that are kept, and start others in place of those that end."""
        delay = _BACKOFF[0]
        while True:
            self._changed.clear()
            while len(self) < self._isolation.provisioned and not self._failed:
                self._forking += 1
                await self._fork()
            if self._failed:
                self._failed = False
                await sleep(self._clock, delay)
                delay = min(delay * 2, _BACKOFF[1])
                continue
            if any(instance.state is State.READY for instance in self._instances):
                delay = _BACKOFF[0]
            await self._changed.wait()

    async def close(self, grace: float) -> None:
        """End all instances: in `grace` seconds by themselves, then by a kill."""
        self._closing = True
        for instance in list(self._instances):
            if instance.state is State.READY:
                instance.stop()
            else:
                instance.kill()
        await self._wait_ended(grace)
        for instance in list(self._instances):
            instance.kill()
        await self._wait_ended(grace)

    async def _wait_ended(self, grace: float) -> None:
        try:
            async with asyncio.timeout(grace):
                while self._instances:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    def _is_free(self, instance: Instance) -> bool:
        return (
            instance.state is State.READY
            and instance.running < self._places
            and not self._is_worn(instance)
        )

    def _start_more(self) -> None:
        """Start as many as those that wait need."""
        starting = self._forking + sum(each.state is State.STARTING for each in self._instances)
        wanted = -(-len(self._waiting) // self._places) - starting
        for _ in range(min(wanted, self._isolation.instances - len(self))):
            self._forking += 1
            self._tasks.create_task(self._fork())

    async def _fork(self) -> None:
        """Start an instance, which is counted already."""
        try:
            instance = await self._start(self._change)
        except (OSError, ZygoteLost) as error:
            self._forking -= 1
            self._failed = True
            _log.warning("no instance of %s could be started: %s", self._spec.full_name, error)
            self._fail_one(start_error(self._spec, error))
            return
        except BaseException:
            self._forking -= 1
            raise
        self._forking -= 1
        self.starts += 1
        self._instances.append(instance)
        self._change(instance)

    def _change(self, instance: Instance) -> None:
        """Take note of an instance that is ready, has ended a run, or has ended itself."""
        if instance not in self._instances:
            return  # `_fork` adds it in a moment, and looks at it then.
        if instance.state is State.ENDED:
            self._instances.remove(instance)
            self._take_end(instance)
        elif instance.state is State.READY:
            self._use(instance)
        self._changed.set()

    def _take_end(self, instance: Instance) -> None:
        self._idle.remove(instance)
        self.exceeded += instance.exceeded is not None
        self.peak = max(self.peak, instance.peak)
        if self._closing:
            return
        if instance.failure is not None:
            self._failed = True
            self._fail_one(instance.failure)
        self._start_more()

    def _use(self, instance: Instance) -> None:
        """Give a free instance to those that wait, or note that it is idle."""
        while self._waiting and self._is_free(instance):
            waiting = self._waiting.popleft()
            if not waiting.done():
                instance.reserve()
                waiting.set_result(instance)
        if instance.running:
            return
        if self._is_worn(instance):
            instance.stop()
            return
        self._instances.remove(instance)
        self._instances.append(instance)
        self._note_idle(instance)

    def _is_worn(self, instance: Instance) -> bool:
        most = self._isolation.max_invocations
        return most is not None and instance.begun >= most

    def _note_idle(self, instance: Instance) -> None:
        timeout = self._isolation.idle_timeout
        if timeout is not None:
            self._idle.add(instance, self._clock.monotonic() + timeout)

    def _end_idle(self, instance: Instance) -> None:
        if instance.running or instance.state is not State.READY:
            return
        if len(self) > self._isolation.provisioned:
            instance.stop()
        else:
            self._note_idle(instance)

    def _fail_one(self, failure: Failure) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(NotStarted(failure))
                return
