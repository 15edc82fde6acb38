"""The ids of callbacks: they say which operation is meant, and only who was given one knows it."""

from __future__ import annotations

import base64
import os
from typing import Final

from eventmesh.durable.errors import CallbackNotFound
from eventmesh.durable.execution import Execution
from eventmesh.model.value import value

_SECRET_BYTES: Final = 24
_MAX_LENGTH: Final = 1024


@value
class CallbackAddress:
    """Where a callback is: the function, its execution, and the operation there."""

    function: str
    execution: str
    operation: str


def new_callback_id(execution: Execution, operation: str) -> str:
    """Make the id of a callback. It is a secret: who has it may complete the callback."""
    secret = os.urandom(_SECRET_BYTES).hex()
    text = f"{execution.function}\n{execution.id}\n{operation}\n{secret}"
    return base64.b64encode(text.encode()).decode()


def read_callback_id(id: str) -> CallbackAddress:
    """Find where a callback is. Who completes it compares the whole id.

    Raises CallbackNotFound for what no callback can have as its id.
    """
    try:
        if len(id) > _MAX_LENGTH:
            raise ValueError
        function, execution, operation, _ = base64.b64decode(id, validate=True).decode().split("\n")
    except ValueError:
        raise CallbackNotFound("there is no callback of that id") from None
    return CallbackAddress(function, execution, operation)
