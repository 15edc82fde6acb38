"""The operations of one context: their ids, and whether the code still asks for the same ones."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import eventmesh.durable
from eventmesh.durable.errors import CodeChanged
from eventmesh.durable.operation import OperationType, OperationUpdate
from eventmesh.executions.session import Session, operation_id

_OWN_CODE: Final = str(Path(eventmesh.durable.__file__).parent.parent)


class Operations:
    """Counts the operations of a context, so that each has the same id in every turn."""

    def __init__(self, session: Session, parent: str = "") -> None:
        """`parent` is the id of the context; "" for the function's own."""
        self.parent = parent
        self._session = session
        self._count = 0

    async def start(self, type: OperationType, name: str, subtype: str, **options: Any) -> str:
        """Record the start of the next operation, unless it was before; return its id.

        `options` are more fields of its `OperationUpdate`. Raises as `next_id` does.
        """
        id = self.next_id(type, name)
        if id not in self._session.operations:
            start = OperationUpdate(
                id, type, "START", name=name, parent=self.parent, subtype=subtype, **options
            )
            await self._session.record(start)
        return id

    def next_id(self, type: OperationType, name: str) -> str:
        """Return the id of the next operation. Raises CodeChanged if it was another one before."""
        id = self.peek_id()
        self._count += 1
        known = self._session.operations.get(id)
        if known is not None and (known.type, known.name) != (type, name):
            raise CodeChanged(
                f"{self._session.function} has changed since this execution began: at "
                f"{_find_line()} it asks for the {type} {name!r}, and it did the {known.type} "
                f"{known.name!r} there before. {self._describe_versions()}Run the code that it "
                "began with, or stop it"
            )
        return id

    def _describe_versions(self) -> str:
        began, now = self._session.revisions
        if not began or began == now:
            return ""
        return f"It began with the version {began}, of which no process runs, and this is {now}. "

    def peek_id(self) -> str:
        """Return the id that the next operation will have."""
        return operation_id(self.parent, self._count + 1)


def _find_line() -> str:
    """Find the line of the user's code that asks for an operation."""
    frame = inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(_OWN_CODE):
        frame = frame.f_back
    return "its code" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
