"""Runs Lambda functions: a process for each instance, started in the folder of the code."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from eventmesh.abc import Handler
from eventmesh.engine.spec import Environment, FunctionSpec, Implementation
from eventmesh.executions.opening import open_keeper, receive_messages
from eventmesh.instances.failures import EXIT_ERROR, OUT_OF_MEMORY
from eventmesh.instances.lifecycle import Instance, Surroundings
from eventmesh.instances.users import choose_user
from eventmesh.instances.workshop import Ends, SharedWorkshop, Workshop, open_pool
from eventmesh.instances.zygote.client import Exit, Program, Zygote
from eventmesh.lambdas.durable.api import TurnApi
from eventmesh.lambdas.durable.turns import LambdaTurns, RunningTurns
from eventmesh.lambdas.extensions.processes import Control, list_extensions
from eventmesh.lambdas.failures import add_request_id
from eventmesh.lambdas.function import LambdaFunction, require_lambda
from eventmesh.lambdas.instance import LambdaInstance
from eventmesh.lambdas.launch import build_environment, find_command
from eventmesh.model.errors import FunctionError
from eventmesh.model.ids import new_id
from eventmesh.model.invocation import Invocation
from eventmesh.model.result import Result


class LambdaRuntime:
    """Runs unmodified Lambda functions in instances."""

    def __init__(self) -> None:
        self._shared = SharedWorkshop()

    @asynccontextmanager
    async def open(
        self, function: Implementation, environment: Environment
    ) -> AsyncGenerator[Handler]:
        declared = require_lambda(function)
        command = find_command(declared)
        async with self._shared.use() as workshop:
            forks = _LambdaForks(workshop.zygote, declared, command)
            if declared.spec.durability is not None:
                async with _open_durable(workshop, declared.spec, environment, forks) as handler:
                    yield handler
                return
            async with open_pool(workshop, declared.spec, environment, forks) as handler:
                yield _with_request_ids(handler)


@asynccontextmanager
async def _open_durable(
    workshop: Workshop, spec: FunctionSpec, environment: Environment, forks: _LambdaForks
) -> AsyncGenerator[Handler]:
    """Have instances run the turns of executions while entered."""
    keeper, running = open_keeper(spec, environment), RunningTurns()
    forks.durable = TurnApi(spec, running, keeper, environment.transport, environment.clock)
    async with open_pool(workshop, spec, environment, forks) as handler:
        turns = LambdaTurns(spec.full_name, _with_request_ids(handler), keeper, running)
        async with receive_messages(spec, environment, keeper, turns) as durable:
            yield durable


def _with_request_ids(handler: Handler) -> Handler:
    """Return a handler whose errors name the invocation also where none has begun."""

    async def handle(invocation: Invocation) -> Result:
        result = await handler(invocation)
        error = result.error
        if (
            not isinstance(error, FunctionError)
            or error.type not in (EXIT_ERROR, OUT_OF_MEMORY)
            or error.message.startswith("RequestId: ")
        ):
            return result
        told, body = add_request_id(invocation.id, error)
        return Result(body, error=told)

    return handle


class _LambdaForks:
    """Starts instances that run a Lambda function."""

    def __init__(self, zygote: Zygote, function: LambdaFunction, command: list[str]) -> None:
        self._zygote = zygote
        self._function = function
        self._command = command
        self._extensions = list_extensions(function)
        needed = [str(function.code), command[0], *map(str, function.layers), *self._extensions]
        self.durable: TurnApi | None = None
        """What a durable function records its executions with."""
        self._user = choose_user(function.full_name, needed)

    def make(self, around: Surroundings) -> LambdaInstance:
        return LambdaInstance(self._function, around, self._extensions, self.durable)

    async def fork(
        self, instance: Instance, procs: str, ends: Ends, on_exit: Callable[[Exit], None]
    ) -> int:
        if not isinstance(instance, LambdaInstance):
            raise TypeError(f"{instance!r} runs no Lambda function")
        address = await instance.listen()
        ends.on_failure(instance.close)
        instance.drain = (await ends.add_pipe(instance.take_line)).drain
        if self._extensions:
            await ends.add_pipe(instance.take_extension_line)
            await _add_control(instance, ends)
        environment = build_environment(self._function, address, new_id())
        program = Program(
            self._command,
            environment,
            str(self._function.code),
            procs,
            self._user,
            [[extension] for extension in self._extensions],
        )
        return await self._zygote.start_program(program, ends.theirs, on_exit)


async def _add_control(instance: LambdaInstance, ends: Ends) -> None:
    """Add the socket of the process that starts the extensions, and the runtime after them."""
    ours, theirs = socket.socketpair()
    ends.theirs.append(theirs.detach())
    loop = asyncio.get_running_loop()
    make = partial(Control, instance.platform.take_end)
    _, instance.platform.control = await loop.create_connection(make, sock=ours)
    ends.on_failure(instance.platform.close)
