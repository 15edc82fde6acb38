"""Makes the calls that instances ask for, with the name, rights and deadline of their runs."""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any, Final, TypeAlias

from eventmesh.abc import Transport
from eventmesh.aio.clock import Clock
from eventmesh.engine.spec import FunctionSpec
from eventmesh.instances.wire.codec import Call, dump_answer
from eventmesh.model.errors import (
    AccessDenied,
    DeclarationError,
    FunctionError,
    InvocationError,
    Throttled,
)
from eventmesh.model.event import check_type
from eventmesh.model.invocation import Invocation
from eventmesh.model.message import Message, utf8
from eventmesh.model.result import Result

_log: Final = logging.getLogger(__name__)

MAX_CALLS: Final = 1_000
MAX_BYTES: Final = 64 * 1024 * 1024
"""Calls of one function's instances that are under way at once, and the bytes of their payloads."""

Answer: TypeAlias = tuple[dict[str, Any], bytes]


class Calls:
    """Calls of all instances of one function.

    An instance is not believed: who calls, and for whom, is that of the invocation that it runs,
    and what the service may call is checked again.
    """

    def __init__(self, spec: FunctionSpec, transport: Transport, clock: Clock) -> None:
        self._spec = spec
        self._transport = transport
        self._clock = clock
        self._under_way = 0
        self._bytes = 0

    def make(
        self, call: Call, body: bytes, invocation: Invocation | None
    ) -> Coroutine[Any, Any, Answer] | None:
        """Return what makes the call and returns its answer; None if too many are under way."""
        if self._under_way >= MAX_CALLS or self._bytes + len(body) > MAX_BYTES:
            return None
        self._under_way += 1
        self._bytes += len(body)
        return self._make(call, body, invocation)

    def refuse(self, call: Call) -> Answer:
        """Return the answer to a call for which `make` returned None."""
        return dump_answer(
            Throttled(f"{self._spec.full_name} has too many calls under way to call {call.target}")
        )

    async def _make(self, call: Call, body: bytes, invocation: Invocation | None) -> Answer:
        try:
            return dump_answer(await self._carry_out(call, body, invocation))
        except InvocationError as error:
            return dump_answer(error)
        except DeclarationError as error:
            return dump_answer(FunctionError("DeclarationError", str(error)))
        except Exception as error:  # noqa: BLE001 logged, and the instance waits for an answer
            _log.exception("%s called %s", self._spec.full_name, utf8(call.target)[:200])
            return dump_answer(FunctionError(type(error).__name__, "the call failed: see the log"))
        finally:
            self._under_way -= 1
            self._bytes -= len(body)

    async def _carry_out(
        self, call: Call, body: bytes, invocation: Invocation | None
    ) -> Result | None:
        if invocation is None:
            raise AccessDenied(
                f"the run of {self._spec.full_name} has ended, and cannot call {call.target!r}: "
                "await its calls before it returns"
            )
        message = self._build_message(call, body, invocation)
        if call.operation == "request":
            self._check_call(call.target)
            return await self._transport.request(call.target, message)
        if call.operation == "send":
            self._check_call(call.target)
            await self._transport.send(call.target, message, call.delay)
            return None
        if self._spec.outgoing is not None:
            self._spec.outgoing.check_emit(call.target)
        await self._transport.emit(message, call.delay)
        return None

    def _check_call(self, target: str) -> None:
        if self._spec.outgoing is not None:
            self._spec.outgoing.check_call(target)

    def _build_message(self, call: Call, body: bytes, invocation: Invocation) -> Message:
        now = self._clock.now()
        is_event = call.operation == "emit"
        return Message(
            body,
            utf8(call.id),
            now,
            content_type=utf8(call.content_type),
            headers={utf8(name): utf8(text) for name, text in call.headers.items()},
            trigger="event" if is_event else "invoke",
            deadline=self._find_deadline(call, invocation),
            caller=self._spec.full_name,
            principal=invocation.principal,
            type=check_type(call.target) if is_event else "",
        )

    def _find_deadline(self, call: Call, invocation: Invocation) -> float | None:
        if call.operation != "request":
            return None
        asked = self._clock.monotonic() + (call.timeout or 0.0)
        return asked if invocation.deadline is None else min(asked, invocation.deadline)
