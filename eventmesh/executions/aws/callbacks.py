"""SendDurableExecutionCallbackSuccess, Failure and Heartbeat: who has the id of a callback may."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from eventmesh.abc import Transport
from eventmesh.durable.callback_id import read_callback_id
from eventmesh.durable.completion import COMPLETE, DURABLE, Completion
from eventmesh.durable.errors import CallbackNotFound, InvalidUpdate
from eventmesh.durable.keeper import Keeper
from eventmesh.durable.shapes import ErrorShape
from eventmesh.executions.callers.completing import complete_callback
from eventmesh.model.errors import FunctionNotFound
from eventmesh.model.ids import new_id
from eventmesh.model.message import Message
from eventmesh.model.value import value


@value
class Completer:
    """Who completes callbacks: a function, or a client, by its identity as messages carry it."""

    transport: Transport
    now: Callable[[], float]
    caller: str = ""
    principal: str = ""


def read_completion(id: str, kind: str, body: bytes) -> Completion:
    """Read what is asked for a callback: "succeed", "fail" or "heartbeat".

    Raises InvalidUpdate.
    """
    if kind == "heartbeat":
        return Completion(callback=id, heartbeat=True)
    try:
        if kind == "fail":
            return Completion(callback=id, error=ErrorShape.model_validate_json(body or b"{}"))
        return Completion(callback=id, result=body.decode() if body else None)
    except ValidationError:
        raise InvalidUpdate("the error of a callback is no ErrorObject in JSON") from None
    except UnicodeDecodeError:
        raise InvalidUpdate("the result of a callback is no text in UTF-8") from None


async def complete(keeper: Keeper | None, completion: Completion, completer: Completer) -> None:
    """Complete a callback: at once where it is kept, and by a message to its function elsewhere.

    Raises CallbackNotOpen, ExecutionNotFound, and what sending raises.
    """
    if keeper is not None:
        await complete_callback(keeper, completion)
        return
    body = completion.model_dump_json(by_alias=True).encode()
    message = Message(
        body,
        new_id(),
        completer.now(),
        trigger=DURABLE,
        type=COMPLETE,
        caller=completer.caller,
        principal=completer.principal,
    )
    function = read_callback_id(completion.callback).function
    try:
        await completer.transport.send(function, message, 0.0)
    except FunctionNotFound:
        raise CallbackNotFound("there is no callback of that id") from None
