"""How the process that fires the timers of a service is asked over the broker, and answers."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from pydantic import BaseModel, Field, ValidationError

from eventmesh.engine.timers.access import MAX_TOLD, TimerReport
from eventmesh.model.errors import PayloadInvalid

TIMERS_REQUEST: Final = "eventmesh.timers"
"""The type of a message that asks about timers."""

Verb: TypeAlias = Literal["list", "run", "pause", "resume"]


class Request(BaseModel):
    """What is asked; "list" needs no more than its verb. An empty `schedule` means all."""

    verb: Verb
    function: str = Field(default="", max_length=255)
    schedule: str = Field(default="", max_length=512)


class Answer(BaseModel):
    """The timers that were asked for, or changed, as they are then; `skipped` are too many."""

    timers: list[TimerReport] = Field(default_factory=list[TimerReport], max_length=MAX_TOLD)
    skipped: int = Field(default=0, ge=0)


def read_request(body: bytes) -> Request:
    """Read a request. Raises PayloadInvalid for what is none: any process may send it."""
    try:
        return Request.model_validate_json(body)
    except ValidationError:
        raise PayloadInvalid("this is no request about timers") from None


def read_answer(body: bytes) -> Answer:
    """Read an answer. Raises PayloadInvalid."""
    try:
        return Answer.model_validate_json(body)
    except ValidationError:
        raise PayloadInvalid(
            "the answer about timers cannot be read: it is of another version of eventmesh"
        ) from None
