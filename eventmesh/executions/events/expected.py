"""What the code of a durable function has of an event that it waits for."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from eventmesh.executions.errors import operation_error
from eventmesh.executions.events.record import read_record
from eventmesh.executions.session import Session
from eventmesh.model.errors import InvocationTimeout

T = TypeVar("T")


class ExpectedEvent(Generic[T]):
    """An event that is waited for from when this was made, though nothing may sleep yet."""

    def __init__(self, session: Session, operation: str, pattern: str, result_type: Any) -> None:
        self._session = session
        self._operation = operation
        self._pattern = pattern
        self._type = result_type

    async def result(self) -> T:
        """Wait until the event has come, for as long as it takes, without a process.

        Raises InvocationTimeout if it did not come in time, and PayloadInvalid for data that does
        not fit.
        """
        ended = await self._session.wait_ended(self._operation)
        if ended.status == "TIMED_OUT":
            raise InvocationTimeout(f"no event {self._pattern!r} came within {ended.timeout} s")
        if ended.status != "SUCCEEDED":
            raise operation_error(ended)
        result: T = read_record(ended.result).read(self._type)
        return result
