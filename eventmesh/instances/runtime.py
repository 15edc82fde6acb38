"""Runs functions in processes of their own."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import eventmesh.engine
from eventmesh.abc import Handler
from eventmesh.engine.function import AnyFunction, require_python
from eventmesh.engine.runtimes.registry import INLINE, THREAD, load_runtime
from eventmesh.engine.spec import Environment, Implementation
from eventmesh.instances.calls import Calls
from eventmesh.instances.instance import HandlerInstance
from eventmesh.instances.lifecycle import Instance, Surroundings
from eventmesh.instances.users import choose_user
from eventmesh.instances.wire.frames import MAX_FROM_INSTANCE, Frames
from eventmesh.instances.workshop import Ends, SharedWorkshop, open_pool
from eventmesh.instances.zygote.client import Exit, Order, Zygote


class ProcessRuntime:
    """Runs handlers in instances: processes that are forked from one which has imported the code.

    One zygote serves all functions of a host. It lives from the first function that is opened to
    the last one that is closed.
    """

    def __init__(self) -> None:
        self._shared = SharedWorkshop()

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        python = require_python(function)
        spec = python.spec
        if spec.isolation is None or not environment.isolate:
            inner = load_runtime(INLINE if python.signature.is_async else THREAD)
            async with inner.open(function, environment) as handler:
                yield handler
            return
        async with self._shared.use() as workshop:
            await workshop.zygote.load(python)
            forks = _HandlerForks(workshop.zygote, python, environment)
            async with open_pool(workshop, spec, environment, forks) as handler:
                yield handler


class _HandlerForks:
    """Forks instances that run a handler."""

    def __init__(self, zygote: Zygote, python: AnyFunction, environment: Environment) -> None:
        self._zygote = zygote
        self._spec = python.spec
        self._user = choose_user(python.full_name, _list_needed(python))
        self._calls = Calls(python.spec, environment.transport, environment.clock)

    def make(self, around: Surroundings) -> HandlerInstance:
        return HandlerInstance(self._spec, around, self._calls)

    async def fork(
        self, instance: Instance, procs: str, ends: Ends, on_exit: Callable[[Exit], None]
    ) -> int:
        if not isinstance(instance, HandlerInstance):
            raise TypeError(f"{instance!r} runs no handler of ours")
        ours, theirs = socket.socketpair()
        ends.theirs.append(theirs.detach())
        _, frames = await asyncio.get_running_loop().create_connection(
            lambda: Frames(instance.take_frame, instance.take_close, MAX_FROM_INSTANCE), sock=ours
        )
        ends.on_failure(frames.close)
        instance.connect(frames)
        await ends.add_pipe(instance.output.take_line)
        await ends.add_pipe(instance.output.take_record)
        level = logging.getLogger().getEffectiveLevel()
        order = Order(self._spec.full_name, procs, self._user, level)
        return await self._zygote.fork(order, ends.theirs, on_exit)


def _list_needed(python: AnyFunction) -> list[str]:
    """Return files beside which an instance may import more when it runs."""
    code = sys.modules[python.handler.__module__].__file__
    return [file for file in (code, eventmesh.engine.__file__, os.__file__) if file]
