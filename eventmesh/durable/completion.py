"""The kinds of messages by which executions go on, and what completes a callback."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel

from eventmesh.durable.shapes import ErrorShape

DURABLE: Final = "durable"
"""The trigger of the messages by which an execution goes on."""

TURN: Final = "eventmesh.durable.turn"
WAKE: Final = "eventmesh.durable.wake"
CALL: Final = "eventmesh.durable.call"
ANSWER: Final = "eventmesh.durable.answer"
COMPLETE: Final = "eventmesh.durable.complete"
EVENT: Final = "eventmesh.durable.event"

CONTINUATIONS: Final = frozenset((TURN, WAKE, CALL, ANSWER, COMPLETE, EVENT))
"""The types of these messages. Who may send each is checked where it is handled: most come from the
function itself, an answer from what it invoked, and who completes a callback has its secret id."""


class Completion(BaseModel):
    """What becomes of a callback: a `result`, an `error`, or only a sign of life."""

    callback: str
    result: str | None = None
    error: ErrorShape | None = None
    heartbeat: bool = False
