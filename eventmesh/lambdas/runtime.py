"""Runs Lambda functions: a process for each instance, started in the folder of the code."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from eventmesh.abc import Handler
from eventmesh.engine.spec import Environment, Implementation
from eventmesh.instances.lifecycle import Instance, Surroundings
from eventmesh.instances.users import choose_user
from eventmesh.instances.workshop import Ends, SharedWorkshop, open_pool
from eventmesh.instances.zygote.client import Exit, Program, Zygote
from eventmesh.lambdas.function import LambdaFunction, require_lambda
from eventmesh.lambdas.instance import LambdaInstance
from eventmesh.lambdas.launch import build_environment, find_command
from eventmesh.model.ids import new_id


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
            async with open_pool(workshop, declared.spec, environment, forks) as handler:
                yield handler


class _LambdaForks:
    """Starts instances that run a Lambda function."""

    def __init__(self, zygote: Zygote, function: LambdaFunction, command: list[str]) -> None:
        self._zygote = zygote
        self._function = function
        self._command = command
        self._user = choose_user(function.full_name, [str(function.code), command[0]])

    def make(self, around: Surroundings) -> LambdaInstance:
        return LambdaInstance(self._function, around)

    async def fork(
        self, instance: Instance, procs: str, ends: Ends, on_exit: Callable[[Exit], None]
    ) -> int:
        if not isinstance(instance, LambdaInstance):
            raise TypeError(f"{instance!r} runs no Lambda function")
        address = await instance.listen()
        ends.on_failure(instance.close)
        await ends.add_pipe(instance.output.take_line)
        environment = build_environment(self._function, address, new_id())
        program = Program(self._command, environment, str(self._function.code), procs, self._user)
        return await self._zygote.start_program(program, ends.theirs, on_exit)
