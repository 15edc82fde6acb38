"""What a durable function invokes, sends and emits: each once, with the record of that."""

from __future__ import annotations

from dataclasses import replace

from eventmesh.abc import Transport
from eventmesh.durable.operation import OperationUpdate
from eventmesh.executions.errors import operation_error
from eventmesh.executions.operations import Operations
from eventmesh.executions.session import Outgoing, Session
from eventmesh.model.message import Message
from eventmesh.model.result import Result


class RecordedTransport:
    """Carries a message with the commit that records it; a later turn does not send it again.

    A request is waited for without a process, and so its deadline does not count.
    """

    def __init__(self, below: Transport, session: Session, operations: Operations) -> None:
        self.below = below
        self._session = session
        self._operations = operations

    async def request(self, function: str, message: Message) -> Result:
        called = {"function": function, "payload": message.body.decode()}
        id = await self._operations.start("CHAINED_INVOKE", function, "ChainedInvoke", **called)
        ended = await self._session.wait_ended(id)
        if ended.status != "SUCCEEDED":
            return Result(b"", error=operation_error(ended))
        return Result((ended.result or "").encode())

    async def send(self, destination: str, message: Message, delay: float) -> None:
        await self._record(f"send {destination}"[:256], Outgoing(destination, message, delay))

    async def emit(self, event: Message, delay: float) -> None:
        await self._record(f"emit {event.type}"[:256], Outgoing("", event, delay))

    async def _record(self, name: str, outgoing: Outgoing) -> None:
        id = self._operations.next_id("STEP", name)
        if id in self._session.operations:
            return
        start = OperationUpdate(
            id, "STEP", "START", name=name, parent=self._operations.parent, subtype="Send"
        )
        done = replace(start, action="SUCCEED")
        await self._session.record(start, done, messages=[outgoing])
