"""What became of asynchronous invocations: what a service's store remembers of each."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Any, Final, Literal, Protocol, TypeAlias, cast

import orjson

from eventmesh.engine.codecs.envelope import dump_error, load_error
from eventmesh.engine.codecs.json import decode
from eventmesh.engine.codecs.json_bounds import is_small_json
from eventmesh.model.errors import Cancelled, InvocationError
from eventmesh.model.message import JSON
from eventmesh.model.result import Failure
from eventmesh.model.value import value

State: TypeAlias = Literal["waiting", "running", "retrying", "succeeded", "failed", "cancelled"]
"""Where an asynchronous invocation is: `waiting` for its first run, or `retrying`, for another."""

ENDED: Final[frozenset[State]] = frozenset(("succeeded", "failed", "cancelled"))

MAX_RESULT: Final = 64 * 1024
"""Bytes of a result that are kept."""

RESULTS_REQUEST: Final = "eventmesh.results"
"""The type of a message that asks a service for what its store remembers."""


@value
class StoredResult:
    """What is known of an asynchronous invocation of one function.

    `attempt` is the number of the last run, `created` when it was stored first, and `updated` when
    this was noted, both in seconds since the epoch. `body` is the encoded result of a success, of
    which `too_large` says that it was not kept. `error` is why the last run failed. `cancelling` is
    True while a run was told to end.
    """

    id: str
    function: str
    state: State
    attempt: int
    created: float
    updated: float
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON
    error: InvocationError | None = None
    cancelling: bool = False
    too_large: bool = False

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self.state in ENDED

    @property
    def value(self) -> Any:
        """The result of a success: decoded JSON, or bytes. Raises its error if it has failed."""
        if self.state == "failed" and self.error is not None:
            raise self.error
        return decode(self.body, "the result") if "json" in self.content_type else self.body


class Results(Protocol):
    """What a store remembers of the invocations of some services.

    While it is away, `begin` and `note` do not wait for it, and what they are told is stored later;
    the others raise StoreUnavailable.
    """

    async def begin(self, function: str, id: str, attempt: int, created: float) -> bool:
        """Note that a run begins; False if the invocation was cancelled, and must not run."""
        ...

    async def note(
        self,
        function: str,
        id: str,
        state: State,
        attempt: int,
        created: float,
        *,
        body: bytes = b"",
        content_type: str = JSON,
        error: Failure | None = None,
    ) -> None:
        """Note where an invocation is, and return once that is stored."""
        ...

    def watch(
        self, function: str, id: str, cancel: Callable[[], object]
    ) -> AbstractContextManager[None]:
        """Call `cancel` when that invocation is cancelled, while entered."""
        ...

    async def find(self, service: str, id: str, function: str = "") -> Sequence[StoredResult]:
        """Return what is known of the invocations with an id: an event has one a function."""
        ...

    async def cancel(self, function: str, id: str) -> StoredResult:
        """Cancel an invocation, known or not, unless it has ended, and return what is known then.

        What waits is not run. A run is told to end within about a second, in whatever process.
        """
        ...


def dump_reason(failure: Failure | None) -> str:
    """Return a failure as it is stored: without its traceback."""
    if failure is None or isinstance(failure, Cancelled):
        return ""
    fields = dump_error(failure)
    fields.pop("traceback", None)
    return orjson.dumps(fields).decode()


def load_reason(text: str) -> InvocationError | None:
    """Return the failure of which `dump_reason` made that."""
    return load_error(orjson.loads(text)) if text else None


def result_members(result: StoredResult) -> dict[str, Any]:
    """Return the members of a result's JSON object. A result that is no JSON is base64."""
    members: dict[str, Any] = {
        "id": result.id,
        "function": result.function,
        "state": result.state,
        "attempt": result.attempt,
        "created": result.created,
        "updated": result.updated,
    }
    if result.cancelling:
        members["cancelling"] = True
    if result.error is not None:
        members["error"] = orjson.loads(dump_reason(result.error))
    if result.too_large:
        members["result_too_large"] = True
    elif result.state == "succeeded":
        if "json" in result.content_type and is_small_json(result.body):
            members["result"] = orjson.Fragment(result.body)
        else:
            members["result_base64"] = base64.b64encode(result.body).decode()
            members["content_type"] = result.content_type
    return members


def result_from_members(members: Mapping[str, Any]) -> StoredResult:
    """Return the result with these members. Raises KeyError, ValueError or TypeError."""
    body = b""
    if "result_base64" in members:
        body = base64.b64decode(members["result_base64"])
    elif "result" in members:
        body = orjson.dumps(members["result"])
    error = members.get("error")
    return StoredResult(
        id=str(members["id"]),
        function=str(members["function"]),
        state=cast(State, members["state"]),
        attempt=int(members["attempt"]),
        created=float(members["created"]),
        updated=float(members["updated"]),
        body=body,
        content_type=str(members.get("content_type", JSON)),
        error=None if error is None else load_error(error),
        cancelling=bool(members.get("cancelling", False)),
        too_large=bool(members.get("result_too_large", False)),
    )
