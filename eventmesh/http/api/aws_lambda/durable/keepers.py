"""Where the executions of this process's services are kept, found by their ARNs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from eventmesh.durable.errors import ExecutionNotFound
from eventmesh.durable.execution import Execution
from eventmesh.durable.keeper import Keeper
from eventmesh.engine.spec import SourceContext
from eventmesh.executions.aws.names import ExecutionName, parse_execution_arn
from eventmesh.http.api.aws_lambda.responses import LambdaError
from eventmesh.model.value import value


@value
class Kept:
    """An execution, and what keeps it."""

    keeper: Keeper
    execution: Execution


class Keepers:
    """What keeps the executions of each service that has a store."""

    def __init__(self, context: SourceContext) -> None:
        environment = context.environment
        self._by_service: Mapping[str, Keeper] = {
            service: store.keep_executions(environment.transport)
            for service, store in environment.stores.items()
        }

    def find(self, function: str) -> Keeper | None:
        """Return what keeps the executions of a function; None if it is not in this process."""
        return self._by_service.get(function.partition(".")[0])

    async def read(self, arn: str) -> Kept:
        """Return the execution of an ARN, without its operations. Raises LambdaError."""
        name = parse_execution_arn(arn)
        if name is None:
            message = f"{arn[:200]!r} is no ARN of a durable execution"
            raise LambdaError("InvalidParameterValueException", message)
        keeper = self.find(name.function)
        if keeper is None:
            _raise_unknown(arn, "; ask a process that runs its service, which has a store")
        try:
            execution = await keeper.read(name.id)
        except ExecutionNotFound:
            _raise_unknown(arn)
        if ExecutionName(execution.function, execution.name, execution.id) != name:
            _raise_unknown(arn)
        return Kept(keeper, execution)


def _raise_unknown(arn: str, advice: str = "") -> NoReturn:
    message = f"Durable execution not found: {arn[:1024]}{advice}"
    raise LambdaError("ResourceNotFoundException", message)
