"""How a service is asked about its executions over the broker, and how it answers."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from eventmesh.durable.event import Event
from eventmesh.durable.execution import ExecutionStatus
from eventmesh.durable.keeper import ExecutionFilter, Page
from eventmesh.engine.executions.access import MAX_LISTED, ExecutionAccess, ExecutionReport
from eventmesh.model.errors import PayloadInvalid

EXECUTIONS_REQUEST: Final = "eventmesh.executions"
"""The type of a message that asks a service about its executions."""

Verb: TypeAlias = Literal["list", "show", "history", "stop", "pause", "resume"]

MAX_REASON: Final = 1024
"""Characters of why an operator did something."""


class Request(BaseModel):
    """What is asked; each verb needs a part of it."""

    verb: Verb
    id: str = Field(default="", max_length=255)
    function: str = Field(default="", max_length=255)
    name: str = Field(default="", max_length=255)
    statuses: tuple[ExecutionStatus, ...] = Field(default=(), max_length=16)
    started_after: float | None = None
    started_before: float | None = None
    newest_first: bool = True
    size: int = Field(default=100, ge=1, le=MAX_LISTED)
    after: str = Field(default="", max_length=1024)
    reason: str = Field(default="", max_length=MAX_REASON)
    hold_timeout: bool = False

    @property
    def page(self) -> Page:
        """Which part of a list is asked for."""
        return Page(self.size, self.after)

    @property
    def which(self) -> ExecutionFilter:
        """Which executions are to be listed."""
        return ExecutionFilter(
            self.function,
            self.name,
            self.statuses,
            self.started_after,
            self.started_before,
            newest_first=self.newest_first,
        )


class Answer(BaseModel):
    """What is told: `executions` or `events`, and where their list goes on."""

    executions: list[ExecutionReport] = Field(default_factory=list[ExecutionReport])
    events: list[Event] = Field(default_factory=list[Event])
    after: str = ""


_REPORT: Final = TypeAdapter(ExecutionReport)
_OTHER_VERSION: Final = (
    "the answer about executions cannot be read: it is of another version of eventmesh"
)


async def answer_with(access: ExecutionAccess, asked: Request) -> Answer:
    """Do what is asked. Raises what the access raises."""
    if asked.verb == "list":
        found, after = await access.list(asked.which, asked.page)
        return Answer(executions=list(found), after=after)
    if asked.verb == "history":
        events, after = await access.history(asked.id, asked.page, newest_first=asked.newest_first)
        return Answer(events=list(events), after=after)
    return Answer(executions=[await _change(access, asked)])


async def _change(access: ExecutionAccess, asked: Request) -> ExecutionReport:
    if asked.verb == "stop":
        return await access.stop(asked.id, asked.reason)
    if asked.verb == "pause":
        return await access.pause(asked.id, asked.reason, hold_timeout=asked.hold_timeout)
    if asked.verb == "resume":
        return await access.resume(asked.id, asked.reason)
    return await access.show(asked.id)


def read_request(body: bytes) -> Request:
    """Read a request. Raises PayloadInvalid for what is none: any process may send it."""
    try:
        return Request.model_validate_json(body)
    except ValidationError:
        raise PayloadInvalid("this is no request about executions") from None


def read_list_request(fields: dict[str, Any]) -> Request:
    """Return the request of these fields. Raises PayloadInvalid, which says what is wrong."""
    try:
        return Request.model_validate(fields)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise PayloadInvalid(f"this cannot be asked for: {where} is wrong") from None


def read_answer(body: bytes) -> Answer:
    """Read an answer. Raises PayloadInvalid."""
    try:
        return Answer.model_validate_json(body)
    except ValidationError:
        raise PayloadInvalid(_OTHER_VERSION) from None


def read_report(body: bytes) -> ExecutionReport:
    """Read an execution. Raises PayloadInvalid."""
    try:
        return _REPORT.validate_json(body)
    except ValidationError:
        raise PayloadInvalid(_OTHER_VERSION) from None


def dump_report(report: ExecutionReport) -> bytes:
    """Return the JSON of an execution."""
    return _REPORT.dump_json(report)
