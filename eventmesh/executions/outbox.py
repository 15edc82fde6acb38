"""What a durable function invokes, sends and emits: each once, with the record of that."""

from __future__ import annotations

from dataclasses import replace

from eventmesh.abc import Transport
from eventmesh.durable.operation import OperationUpdate
from eventmesh.executions.errors import operation_error
from eventmesh.executions.operations import Operations
from eventmesh.executions.session import Outgoing, Session
from eventmesh.middleware.tracing import trace_transport
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
        recorder = self._begin(f"send {destination}")
        if recorder is not None:
            await recorder.send(destination, message, delay)

    async def emit(self, event: Message, delay: float) -> None:
        recorder = self._begin(f"emit {event.type}")
        if recorder is not None:
            await recorder.emit(event, delay)

    def _begin(self, name: str) -> Transport | None:
        """Return what records the next message, in a span as others are sent; None if it was."""
        name = name[:256]
        id = self._operations.next_id("STEP", name)
        if id in self._session.operations:
            return None
        start = OperationUpdate(
            id, "STEP", "START", name=name, parent=self._operations.parent, subtype="Send"
        )
        return trace_transport(_Recorder(self.below, self._session, start))


class _Recorder:
    """Records one message, as the operation that `start` begins."""

    def __init__(self, below: Transport, session: Session, start: OperationUpdate) -> None:
        self._below = below
        self._session = session
        self._start = start

    async def request(self, function: str, message: Message) -> Result:
        return await self._below.request(function, message)

    async def send(self, destination: str, message: Message, delay: float) -> None:
        done = replace(self._start, action="SUCCEED")
        outgoing = Outgoing(destination, message, delay)
        await self._session.record(self._start, done, messages=[outgoing])

    async def emit(self, event: Message, delay: float) -> None:
        await self.send("", event, delay)
