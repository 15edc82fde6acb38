"""What keeps executions: the interface that a store implements."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field
from typing import Protocol, TypeAlias

from eventmesh.abc import Transport
from eventmesh.durable.errors import ExecutionNotFound
from eventmesh.durable.event import Event
from eventmesh.durable.execution import Execution, ExecutionStatus
from eventmesh.durable.operation import Operation
from eventmesh.durable.subscription import Subscription
from eventmesh.durable.transition import Transition
from eventmesh.model.value import value


@value
class ExecutionFilter:
    """Which executions are listed: times are since the epoch, and () means any status."""

    function: str = ""
    name: str = ""
    statuses: tuple[ExecutionStatus, ...] = ()
    started_after: float | None = None
    started_before: float | None = None
    newest_first: bool = True


@value
class Page:
    """Where a list goes on: behind `after`, which the page before it gave; at most `size` items."""

    size: int = 100
    after: str = ""


def list_marker(started: float, id: str) -> str:
    """Return where a list of executions goes on behind that one."""
    return base64.urlsafe_b64encode(json.dumps([started, id]).encode()).decode()


def read_list_marker(marker: str) -> tuple[float, str]:
    """Return the start and the id of which `list_marker` made that. Raises ExecutionNotFound."""
    try:
        started, id = json.loads(base64.urlsafe_b64decode(marker))
        return float(started), str(id)
    except (ValueError, TypeError):
        raise ExecutionNotFound("the marker is none of a list of executions") from None


@value
class Change:
    """An execution that nobody else changes now, and what carries messages with its commit."""

    transition: Transition
    transport: Transport = field(repr=False)

    @property
    def execution(self) -> Execution:
        """The state of it."""
        return self.transition.execution


Watch: TypeAlias = Callable[[Change], Callable[[], object]]
"""Gets each change before it is committed, and returns what is called when it is.

What either raises is raised to who made the change; before the commit, nothing is stored then.
"""


class Keeper(Protocol):
    """Keeps the executions of one service."""

    def create(self, execution: Execution) -> AbstractAsyncContextManager[Change | None]:
        """Begin an execution; leaving stores it. Gives None if one of that id is kept already.

        Raises ExecutionNameTaken for a function and name that another one has, and
        StoreUnavailable.
        """
        ...

    def change(
        self, id: str, operations: Collection[str] | None = (), *, since: int | None = None
    ) -> AbstractAsyncContextManager[Change]:
        """Change an execution: leaving stores what was changed, unless an error passes.

        Its operations are those that are open or changed since its invocation began, or after the
        change `since`, and besides these `operations`, or all with None. Raises ExecutionNotFound
        and StoreUnavailable.
        """
        ...

    async def read(self, id: str, operations: Collection[str] = ()) -> Execution:
        """Return an execution with these of its operations. Raises ExecutionNotFound."""
        ...

    async def find(self, function: str, name: str) -> Execution | None:
        """Return the execution of that function and name, without its operations."""
        ...

    async def read_operations(self, id: str, page: Page) -> tuple[Sequence[Operation], str]:
        """Return operations in the order of their start, and where the list goes on, or ""."""
        ...

    async def read_history(
        self, id: str, page: Page, *, newest_first: bool = False
    ) -> tuple[Sequence[Event], str]:
        """Return events, and where the list goes on, or ""."""
        ...

    async def list(self, which: ExecutionFilter, page: Page) -> tuple[Sequence[Execution], str]:
        """Return executions without their operations, and where the list goes on, or ""."""
        ...

    async def list_subscriptions(self, function: str) -> Sequence[str]:
        """Return the shapes of the events that executions of a function wait for."""
        ...

    async def find_subscribed(
        self, function: str, wanted: Sequence[Subscription], event: str, most: int
    ) -> Mapping[str, Sequence[str]]:
        """Return open operations with these subscriptions, by execution, `most` at most in all.

        Executions that got the event of that id before are left out.
        """
        ...

    async def note_revision(self, function: str, revision: str, now: float) -> None:
        """Note that a process runs that version of a function. Raises StoreUnavailable."""
        ...

    async def list_revisions(self, function: str, since: float) -> Sequence[str]:
        """Return the versions of a function that were noted since then."""
        ...

    async def list_overdue(self, function: str, before: float, most: int) -> Sequence[str]:
        """Return executions of a function that have not ended, and whose `wake` was before then.

        At most `most`, the longest overdue first. Raises StoreUnavailable.
        """
        ...

    async def drop(self, id: str) -> bool:
        """Drop an execution if it has ended; return whether it has. Raises ExecutionNotFound."""
        ...

    async def drop_ended(self, function: str, before: float, most: int) -> int:
        """Drop executions of a function that ended before then, `most` at most; return how many."""
        ...
