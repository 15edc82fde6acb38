"""What an operator does with an execution: stop, pause, resume, delete."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_pascal

from eventmesh.durable.shapes import ErrorShape
from eventmesh.durable.transition import Transition
from eventmesh.executions.messages.contents import send_commands
from eventmesh.http.api.aws_lambda.durable.keepers import Kept
from eventmesh.http.api.aws_lambda.responses import LambdaError

_Reason = Annotated[str, StringConstraints(max_length=1024)]

ShapeT = TypeVar("ShapeT", bound=BaseModel)


class _Control(BaseModel):
    model_config = ConfigDict(alias_generator=to_pascal, strict=True, hide_input_in_errors=True)

    reason: _Reason = ""
    execution_timeout_paused: bool = False


async def stop(kept: Kept, body: bytes) -> dict[str, Any]:
    """Stop an execution, unless it has ended, and say when that was."""
    error = parse(ErrorShape, body).to_value()

    def change(transition: Transition) -> float:
        if not transition.execution.is_ended:
            transition.stop(error)
        return transition.execution.ended or transition.now

    return {"StopTimestamp": await _change(kept, change)}


async def pause(kept: Kept, body: bytes) -> dict[str, Any]:
    """Pause an execution. Raises ExecutionEnded."""
    asked = parse(_Control, body)

    def change(transition: Transition) -> float:
        transition.pause(asked.reason, with_timeout=asked.execution_timeout_paused)
        return transition.now

    await _change(kept, change)
    return {}


async def resume(kept: Kept, body: bytes) -> dict[str, Any]:
    """End the pause of an execution. Raises ExecutionEnded."""
    asked = parse(_Control, body)

    def change(transition: Transition) -> float:
        transition.resume(asked.reason)
        return transition.now

    await _change(kept, change)
    return {}


async def delete(kept: Kept, now: float) -> dict[str, Any]:
    """Delete an execution, with its history. Raises LambdaError if it has not ended."""
    if not await kept.keeper.drop(kept.execution.id):
        raise LambdaError(
            "ResourceConflictException",
            f"the execution {kept.execution.id} is {kept.execution.status}: stop it first",
        )
    return {"DeletionRequestTimestamp": now}


async def _change(kept: Kept, apply: Callable[[Transition], float]) -> float:
    async with kept.keeper.change(kept.execution.id) as change:
        moment = apply(change.transition)
        await send_commands(change)
    return moment


_EMPTY: Final = b"{}"


def parse(shape: type[ShapeT], body: bytes) -> ShapeT:
    """Read the body of a request; none is one without members. Raises LambdaError."""
    try:
        return shape.model_validate_json(body or _EMPTY)
    except ValidationError as error:
        why = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, why["loc"]))
        message = f"{place}: {why['msg']}" if place else why["msg"]
        raise LambdaError("InvalidRequestContentException", message) from None
